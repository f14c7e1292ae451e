#!/usr/bin/env python3
"""Saving, loading and appending beside redis-server, in one run.

    persistence.py GYRE REDIS [KEYS]
"""
import shutil, subprocess, sys, tempfile, threading, time
from common import Server, encode

gyre, redis = sys.argv[1:3]
keys = int(sys.argv[3]) if len(sys.argv) > 3 else 5_000_000


def fill(server):
    server.pipeline(encode("SET", "key:%012d" % i, "v" * 64) for i in range(keys))


def wait_for_save(server):
    while server.info()["rdb_bgsave_in_progress"] != "0":
        time.sleep(0.01)


def benchmark(server, *args):
    out = subprocess.run(["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "--csv", *args],
                         capture_output=True, text=True).stdout
    rows = [line for line in out.splitlines() if line.startswith('"') and '"rps"' not in line]
    return float(rows[-1].split('","')[1].strip('"'))


def show(what, ours, theirs, unit):
    print(f"{what:44} {ours:12.3f} {theirs:12.3f} {unit:12} {ours / theirs:6.2f}", flush=True)


print(f"{'':44} {'gyre':>12} {'redis':>12}")
figures = {}
for name, binary in (("gyre", gyre), ("redis", redis)):
    directory = tempfile.mkdtemp()
    server = Server(binary, directory=directory, realtime=name == "gyre")
    fill(server)
    begin = time.perf_counter()
    server.run("SAVE")
    save_s = time.perf_counter() - begin
    if name == "gyre":
        # SETs go on from another client while a child saves.
        server.run("CONFIG", "RESETSTAT")
        load = threading.Thread(target=benchmark, args=(server, "-t", "set", "-r", str(keys), "-d", "64", "-n", "300000",
                                                        "-P", "16"))
        load.start()
        server.run("BGSAVE")
        wait_for_save(server)
        load.join()
        info = server.info()
        print("BGSAVE of %d keys under SETs: fork %.1f ms, longest turn %.1f ms" %
              (keys, int(info["latest_fork_usec"]) / 1000, int(info["loop_longest_turn_usec"]) / 1000), flush=True)
    server.stop()
    # Helpers may have the other core; Redis has nothing to do there.
    server = Server(binary, directory=directory, cores="0,1")
    load_s = server.ready_s
    server.stop()
    shutil.rmtree(directory)
    figures[name] = (save_s, load_s)
show(f"SAVE of {keys} keys", figures["gyre"][0], figures["redis"][0], "s")
show(f"start with {keys} keys", figures["gyre"][1], figures["redis"][1], "s")

load = ["-t", "set", "-r", "1000000", "-d", "64", "-c", "50"]
for what, fsync, args in (("SET, everysec, pipeline 16", "everysec", load + ["-n", "1000000", "-P", "16"]),
                          ("SET, always, 50 clients", "always", load + ["-n", "20000"])):
    rates = {}
    for name, binary in (("gyre", gyre), ("redis", redis)):
        for on in (False, True):
            server = Server(binary, *(["--appendonly", "yes", "--appendfsync", fsync] if on else []))
            rates[name, on] = benchmark(server, *args)
            server.stop()
    show(what, rates["gyre", True], rates["redis", True], "per second")
    for name in ("gyre", "redis"):
        print("    %-6s with the file / without: %.2f" % (name, rates[name, True] / rates[name, False]), flush=True)
