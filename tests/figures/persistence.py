#!/usr/bin/env python3
"""Saving, loading and appending beside redis-server, in one run.

    persistence.py GYRE REDIS [KEYS]

Wants two cores that nobody else uses, and root, with `sysctl kernel.sched_rt_runtime_us=-1` (else the system takes the core
away from the server for 50 ms of each second). The server has core 0, in front of all else there, and its helper or child core 1, with whoever asks. At the end of a save its
own figures are read; how long a SET takes is seen by a client that sends one after the other beside the load.
"""
import os, shutil, socket, subprocess, sys, tempfile, threading, time
from common import Server, encode

gyre, redis = sys.argv[1:3]
keys = int(sys.argv[3]) if len(sys.argv) > 3 else 5_000_000


def fill(server):
    server.pipeline(encode("SET", "key:%012d" % i, "v" * 64) for i in range(keys))


def benchmark(server, *args):
    out = subprocess.run(["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "--csv", *args],
                         capture_output=True, text=True).stdout
    rows = [line for line in out.splitlines() if line.startswith('"') and '"rps"' not in line]
    return float(rows[-1].split('","')[1].strip('"'))


def show(what, ours, theirs, unit):
    print(f"{what:44} {ours:12.3f} {theirs:12.3f} {unit:12} {ours / theirs:6.2f}", flush=True)


def load(server, *command):
    """Commands, pipelined, as fast as they are answered; a process to be killed."""
    return subprocess.Popen(["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "-r", str(keys), "-c", "10", "-P",
                             "16", "-n", "1000000000", *command], stdout=subprocess.DEVNULL)


def half_load(server, *command):
    """The same for half of the time: waits as long as the answers took."""
    text = """
import random, socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
words = [word.encode() for word in sys.argv[3:]]
def encode():
    number = b"%012d" % random.randrange(int(sys.argv[2]))
    return b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(w), w) for w in
                                               (word.replace(b"__rand_int__", number) for word in words))
batches = [b"".join(encode() for _ in range(160)) for _ in range(2000)]
while True:
    for batch in batches:
        began = time.perf_counter()
        connection.sendall(batch)
        left = 160
        while left:
            left -= connection.recv(1 << 16).count(b"\\r\\n")
        time.sleep(time.perf_counter() - began)
"""
    return subprocess.Popen(["taskset", "-c", "1", sys.executable, "-c", text, str(server.port), str(keys), *command])


class Probe:
    """One command after the other, each timed, ms."""

    def __init__(self, server, command):
        self.stopped, self.times = False, []
        self.thread = threading.Thread(target=self.run, args=(server, command))
        self.thread.start()

    def run(self, server, command):
        connection = server.connect()
        while not self.stopped:
            began = time.perf_counter()
            connection.sendall(command(len(self.times)))
            connection.recv(1 << 16)
            self.times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.001)
        connection.close()

    def stop(self):
        self.stopped = True
        self.thread.join()
        times = sorted(self.times)
        return times[int(len(times) * 0.999)], times[-1]


def resident(server):
    with open("/proc/%d/statm" % server.process.pid) as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def move_helpers(server):
    """Helpers and children may have the other core, too, where they are in front of nobody; the loop stays where it is."""
    try:
        others = [int(task) for task in os.listdir("/proc/%d/task" % server.process.pid)]
    except FileNotFoundError:
        return
    others.remove(server.process.pid)
    children = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout
    for other in others + [int(child) for child in children.split()]:
        try:
            os.sched_setscheduler(other, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(other, {0, 1})
        except ProcessLookupError:
            pass


def keep_moving(server):
    while server.process.poll() is None:
        move_helpers(server)
        time.sleep(0.05)


def save_under(server, writer):
    """A background save while somebody writes: its time, the rate during it and before it, the probe's times, the longest turn
    (gyre tells), and the memory that it took beyond what there was."""
    processed = lambda: int(server.info()["total_commands_processed"])
    time.sleep(2)
    done, began = processed(), time.perf_counter()
    time.sleep(3)
    before = (processed() - done) / (time.perf_counter() - began)
    server.run("CONFIG", "RESETSTAT")
    memory = most = resident(server)
    probe = Probe(server, set_key)
    done, began = processed(), time.perf_counter()
    server.run("BGSAVE")
    # Seldom, for whatever looks takes the time of those who write.
    for pause in (0.01, 0.2):
        time.sleep(pause)
        move_helpers(server)
    while True:
        most = max(most, resident(server))
        info = server.info()
        if info["rdb_bgsave_in_progress"] == "0":
            break
        time.sleep(0.2)
    took = time.perf_counter() - began
    during = (int(info["total_commands_processed"]) - done) / took
    high, worst = probe.stop()
    writer.kill()
    writer.wait()
    assert info["rdb_last_bgsave_status"] == "ok", info["rdb_last_bgsave_status"]
    turn = int(info.get("loop_longest_turn_usec", 0)) / 1000
    # What a child has copied is its own; what the loop keeps is in the process.
    copied = 0 if info.get("rdb_last_bgsave_type") == "forkless" else int(info["rdb_last_cow_size"])
    extra = most - memory + copied
    return took, during / before, high, worst, turn, extra / memory


def set_key(number):
    return encode("SET", "key:%012d" % (number * 7919 % keys), "w" * 64)


def show_saves(binary, name, directives):
    """Saves of KEYS strings and of a hash of KEYS fields, under writes."""
    server = Server(binary, *directives, realtime=True)
    os.sched_setaffinity(0, {1})
    fill(server)
    began = time.perf_counter()
    server.run("SAVE")
    whole = time.perf_counter() - began
    row = "%-14s %-28s %6.2f %9.2f %9.2f %9.2f %9.2f %7.1f%%"
    value = "w" * 64
    for what, writer in (("%d keys, all of the time" % keys, load), ("%d keys, half of it" % keys, half_load)):
        took, *figures = save_under(server, writer(server, "SET", "key:__rand_int__", value))
        figures[-1] *= 100
        print(row % (name, what, took / whole, *figures), flush=True)
    server.run("FLUSHALL")
    server.pipeline(encode("HSET", "hash", "field:%012d" % i, "v" * 64) for i in range(keys))
    began = time.perf_counter()
    server.run("SAVE")
    whole = time.perf_counter() - began
    took, *figures = save_under(server, load(server, "HSET", "hash", "field:__rand_int__", value))
    figures[-1] *= 100
    print(row % (name, "a hash of %d fields" % keys, took / whole, *figures), flush=True)
    server.stop()
    os.sched_setaffinity(0, {0, 1})


def holes():
    """How long the machine itself keeps a process off that is in front of all others and does nothing but look at the clock, while
    the other core is busy: no longest turn can be told more exactly."""
    other = subprocess.Popen(["taskset", "-c", "1", sys.executable, "-c", "while True: pass"])
    text = """
import os, time
os.sched_setaffinity(0, {0})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
before = time.perf_counter()
end, longest, over = before + 10, 0, 0
while before < end:
    now = time.perf_counter()
    longest = max(longest, now - before)
    over += now - before > 0.002
    before = now
print("%.2f ms at most, %d times in 10 s for more than 2 ms" % (longest * 1000, over))
"""
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True).stdout
    other.kill()
    other.wait()
    print("The machine keeps a process off for", out.strip(), flush=True)


holes()
print("Background saves under writes: time (of a SAVE), rate (of that without), SET p99.9 and most, longest turn (ms), memory")
for binary, name, directives in ((gyre, "forkless", ["--bgsave-default-method", "forkless"]),
                                 (gyre, "fork", ["--bgsave-default-method", "fork"]), (redis, "redis", [])):
    show_saves(binary, name, directives)
holes()

print(f"{'':44} {'gyre':>12} {'redis':>12}")
figures = {}
for name, binary in (("gyre", gyre), ("redis", redis)):
    directory = tempfile.mkdtemp()
    server = Server(binary, directory=directory, realtime=name == "gyre")
    fill(server)
    begin = time.perf_counter()
    server.run("SAVE")
    save_s = time.perf_counter() - begin
    server.stop()
    # Helpers may have the other core; Redis has nothing to do there.
    server = Server(binary, directory=directory, cores="0,1")
    load_s = server.ready_s
    server.stop()
    shutil.rmtree(directory)
    figures[name] = (save_s, load_s)
show(f"SAVE of {keys} keys", figures["gyre"][0], figures["redis"][0], "s")
show(f"start with {keys} keys", figures["gyre"][1], figures["redis"][1], "s")

sets = ["-t", "set", "-r", "1000000", "-d", "64", "-c", "50"]
for what, fsync, args in (("SET, everysec, pipeline 16", "everysec", sets + ["-n", "1000000", "-P", "16"]),
                          ("SET, always, 50 clients", "always", sets + ["-n", "20000"])):
    rates = {}
    for name, binary in (("gyre", gyre), ("redis", redis)):
        for on in (False, True):
            server = Server(binary, *(["--appendonly", "yes", "--appendfsync", fsync] if on else []))
            # What rewrites the file may have the other core.
            mover = threading.Timer(0.05, keep_moving, (server,))
            mover.start()
            rates[name, on] = benchmark(server, *args)
            server.stop()
            mover.join()
    show(what, rates["gyre", True], rates["redis", True], "per second")
    for name in ("gyre", "redis"):
        print("    %-6s with the file / without: %.2f" % (name, rates[name, True] / rates[name, False]), flush=True)
