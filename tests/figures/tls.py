#!/usr/bin/env python3
"""What TLS costs, beside Redis: CPU per command and per handshake, handshakes per second, memory per client, and how long
others wait while clients flood the server with handshakes.

    tls.py BINARY [--peer REDIS-SERVER] [--keys rsa ec] [--client-key ec|rsa] [--protocol TLSv1.3|TLSv1.2] [--rounds N]
           [--seconds S] [--only PART ...]

Needs redis-benchmark with TLS, openssl and python3. Each server is on core 0, all clients on core 1; the servers take turns,
and what is printed are medians of the rounds. Both servers have the same certificate: handshakes are measured with one of RSA
(2048 bits) and with one of P-256, all else with the first of the two. Clients show one of P-256, which costs them little and
the server a verification, or with --client-key one of RSA, the other way round, or none. Which suite and which group each server chose is printed: only like is compared with like.
No handshake resumes a session.

Where the processor has AVX-512 IFMA, OpenSSL signs with RSA in little more than half the time (OPENSSL_ia32cap=:~0x200000 in
the environment has it do without). Where clients are the slower side, as with P-256 they are, the server's share of the time
says so, and what it could do is what its CPU time says.

A quiet machine with two cores or more is needed, and root for real-time priority of the client that is timed; without it that
client's own delays are in the figures.
"""
import argparse, contextlib, multiprocessing, os, re, resource, socket, ssl, statistics, subprocess, sys, tempfile, threading, time

from common import Server, free_port

PARTS = ["commands", "handshakes", "memory", "flood"]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("binary")
parser.add_argument("--peer", default="/usr/bin/redis-server")
parser.add_argument("--keys", nargs="+", choices=["rsa", "ec"], default=["rsa", "ec"], help="of the servers' certificate")
parser.add_argument("--client-key", choices=["rsa", "ec"], default="ec", help="of the clients' certificate")
parser.add_argument("--protocol", choices=["TLSv1.3", "TLSv1.2"], default="TLSv1.3")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=float, default=5, help="of each measurement of handshakes")
parser.add_argument("--commands", type=int, default=200_000, help="without pipeline; four times as many with one")
parser.add_argument("--clients", type=int, default=2000, help="idle ones, for memory")
parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)

NAMES = {"rsa": "RSA 2048", "ec": "P-256"}
# Handshakes that one client which floods has under way at a time.
AT_A_TIME = 16
# A PING is due so often; what is due while an earlier one waits has waited too.
PING_INTERVAL_S = 0.002
CLIENT_CORE = 1


def openssl(*words, directory):
    subprocess.run(["openssl", *words], cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certify(directory, name, key):
    new = ["rsa:2048"] if key == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("req", "-newkey", *new, "-nodes", "-subj", f"/CN={name}", "-keyout", name + ".key", "-out", name + ".csr",
            directory=directory)
    openssl("x509", "-req", "-in", name + ".csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial",
            "-days", "30", "-out", name + ".crt", directory=directory)


def make_certificates(directory, key, client_key):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=authority",
            "-keyout", "authority.key", "-out", "authority.crt", directory=directory)
    certify(directory, "server", key)
    certify(directory, "client", client_key)


class TlsServer(Server):
    """A server that also listens with TLS. `optional`: both kinds of client are let in."""

    def __init__(self, binary, directory, protocol):
        self.tls_port = free_port()
        file = lambda name: os.path.join(directory, name)
        super().__init__(
            binary, "--tls-port", str(self.tls_port), "--tls-cert-file", file("server.crt"), "--tls-key-file",
            file("server.key"), "--tls-ca-cert-file", file("authority.crt"), "--tls-auth-clients", "optional",
            "--tls-protocols", protocol, "--maxclients", "30000", "--loglevel", "warning")


def context(directory, with_certificate, protocol):
    """What a client connects with. It believes any server: what that costs it is nothing of the server's."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = getattr(ssl.TLSVersion, protocol.replace(".", "_"))
    if with_certificate:
        made.load_cert_chain(os.path.join(directory, "client.crt"), os.path.join(directory, "client.key"))
    return made


def connect(made, port):
    """A client that has had an answer: its handshake is done, for the server too."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    secure = made.wrap_socket(plain)
    ping(secure)
    return secure


def ping(secure):
    secure.sendall(b"PING\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        part = secure.recv(100)
        if not part:
            raise ConnectionError("the server has closed the connection")
        answer += part
    assert answer == b"+PONG\r\n", answer


def flood(directory, with_certificate, protocol, port, stop, count):
    """A client that makes one handshake after the other, several at a time, until it is told to stop."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    made = context(directory, with_certificate, protocol)

    def one_after_the_other():
        while not stop.is_set():
            try:
                connect(made, port).close()
            except OSError:
                # A server that is flooded may end handshakes; they do not count.
                continue
            with count.get_lock():
                count.value += 1

    threads = [threading.Thread(target=one_after_the_other) for _ in range(AT_A_TIME)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Flood:
    """So many clients that flood a server with handshakes, each a process."""

    def __init__(self, server, directory, clients, with_certificate, protocol):
        self.stop = multiprocessing.Event()
        self.count = multiprocessing.Value("q", 0)
        words = (directory, with_certificate, protocol, server.tls_port, self.stop, self.count)
        self.processes = [multiprocessing.Process(target=flood, args=words, daemon=True) for _ in range(clients)]
        for process in self.processes:
            process.start()
        # Until all of them are at it.
        deadline = time.monotonic() + 60
        while clients and self.count.value < 20 * clients:
            assert time.monotonic() < deadline, "the server finishes no handshakes"
            time.sleep(0.05)

    def end(self):
        self.stop.set()
        for process in self.processes:
            process.join(20)
            if process.is_alive():
                process.kill()
                process.join()


def chosen(server, directory, protocol):
    """The suite and the group that a client of OpenSSL and the server agree on."""
    flag = "-tls1_3" if protocol == "TLSv1.3" else "-tls1_2"
    told = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", flag], cwd=directory,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    words = [re.search(pattern, told) for pattern in
             [r"Cipher is (\S+)", r"Server Temp Key: ([^,\n]+)", r"Peer signature type: (\S+)", r"Server public key is (.*)"]]
    return ", ".join(word[1] if word else "?" for word in words)


def benchmark(server, directory, command, pipeline, count):
    subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "redis-benchmark", "-p", str(server.tls_port), "--tls", "--cacert",
         "authority.crt", "-t", command, "-c", "50", "-P", str(pipeline), "-n", str(count), "-q"],
        cwd=directory, stdout=subprocess.DEVNULL, check=True)


def cpu_per_command_us(server, directory, command, pipeline, count):
    """From two runs of different length, so that connecting is in neither."""
    taken_s = []
    for commands in [count // 10, count + count // 10]:
        before_s = server.cpu_s()
        benchmark(server, directory, command, pipeline, commands)
        taken_s.append(server.cpu_s() - before_s)
    return (taken_s[1] - taken_s[0]) / count * 1e6


def handshakes(server, directory, with_certificate, protocol, seconds):
    """Handshakes per second, the server's CPU time for one (µs), and how busy it was (1: all the time)."""
    busy = Flood(server, directory, 2, with_certificate, protocol)
    before, cpu_s, begun = busy.count.value, server.cpu_s(), time.monotonic()
    time.sleep(seconds)
    # On a machine that is busy with other things nothing may have come of it.
    while busy.count.value < before + 50:
        assert time.monotonic() < begun + 60, "the server finishes no handshakes"
        time.sleep(0.1)
    count, cpu_s, elapsed_s = busy.count.value - before, server.cpu_s() - cpu_s, time.monotonic() - begun
    busy.end()
    return count / elapsed_s, cpu_s / count * 1e6, cpu_s / elapsed_s


def bytes_per_idle_client(server, directory, protocol, clients):
    made = context(directory, False, protocol)
    connect(made, server.tls_port).close()
    time.sleep(1)
    before = server.resident_bytes()
    there = [connect(made, server.tls_port) for _ in range(clients)]
    # Redis gives back the buffers of clients that are idle for two seconds, a few of them at a time.
    time.sleep(8)
    taken = server.resident_bytes() - before
    for client in there:
        client.close()
    time.sleep(1)
    return taken / clients


def p99_ms(server, directory, protocol, floods, seconds):
    """How long PINGs of a client take that was there before, the 99th percentile, while others flood."""
    client = connect(context(directory, True, protocol), server.tls_port)
    busy = Flood(server, directory, floods, True, protocol)
    taken_s = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        ping(client)
        done = time.perf_counter()
        while due < min(done, end):
            taken_s.append(done - due)
            due += PING_INTERVAL_S
        time.sleep(max(0, due - time.perf_counter()))
    busy.end()
    client.close()
    taken_s.sort()
    return taken_s[len(taken_s) * 99 // 100] * 1e3


def be_punctual():
    """This process, the client that is timed, goes before those that flood."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        return "of real-time priority"
    except OSError:
        return "of usual priority, which delays it"


def medians(servers, rounds, measure):
    """The measure for each server, which take turns; of measures that are several figures, the median of each."""
    taken = [[] for _ in servers]
    for _ in range(rounds):
        for figures, server in zip(taken, servers):
            figures.append(measure(server))
    return [[statistics.median(column) for column in zip(*(it if isinstance(it, tuple) else (it,) for it in figures))]
            for figures in taken]


def show(name, ours, theirs):
    print(f"{name:58} {ours:10.2f} {theirs:10.2f} {ours / theirs:8.2f}", flush=True)


@contextlib.contextmanager
def started(args, directory):
    servers = []
    try:
        for binary in [args.binary, args.peer]:
            servers.append(TlsServer(binary, directory, args.protocol))
        yield servers
    finally:
        for server in servers:
            server.stop()


def measure_commands(args, directory, servers):
    for command in ["get", "set"]:
        for pipeline, count in [(1, args.commands), (16, 4 * args.commands)]:
            ours, theirs = medians(servers, args.rounds, lambda server: cpu_per_command_us(
                server, directory, command, pipeline, count))
            show(f"{command}, pipeline {pipeline}: CPU per command, µs", *ours, *theirs)


def measure_memory(args, directory):
    # Servers of their own, since clients find what others have left; and so no rounds.
    with started(args, directory) as servers:
        ours, theirs = [bytes_per_idle_client(server, directory, args.protocol, args.clients) for server in servers]
        show("resident memory per idle client, KiB", ours / 1024, theirs / 1024)


def measure_handshakes(args, directory, servers):
    for with_certificate in [False, True]:
        kind = f"clients show {NAMES[args.client_key] if with_certificate else 'none'}"
        ours, theirs = medians(servers, args.rounds, lambda server: handshakes(
            server, directory, with_certificate, args.protocol, args.seconds))
        show(f"CPU per full handshake, µs ({kind})", ours[1], theirs[1])
        show("  handshakes in a second of CPU time", 1e6 / ours[1], 1e6 / theirs[1])
        show("  handshakes per second, as they came", ours[0], theirs[0])
        show("  share of the time that the server was busy", ours[2], theirs[2])


def measure_floods(args, directory, servers):
    quiet = []
    for floods in range(4):
        ours, theirs = medians(servers, args.rounds, lambda server: p99_ms(
            server, directory, args.protocol, floods, args.seconds))
        quiet = quiet or [ours[0], theirs[0]]
        show(f"p99 of a client's PING, {floods} others flood, ms", *ours, *theirs)
        if floods:
            show("  as many times what it is without a flood", ours[0] / quiet[0], theirs[0] / quiet[1])


def main(args, key, directory):
    make_certificates(directory, key, args.client_key)
    is_first = key == args.keys[0]
    with started(args, directory) as servers:
        for binary, server in zip([args.binary, args.peer], servers):
            print(f"{binary}: redis_version {server.info()['redis_version']}; {args.protocol}, "
                  f"{chosen(server, directory, args.protocol)}")
        print(f"{'':58} {'gyre':>10} {'Redis':>10} {'ratio':>8}")
        if "commands" in args.only and is_first:
            measure_commands(args, directory, servers)
        if "handshakes" in args.only:
            measure_handshakes(args, directory, servers)
        if "flood" in args.only:
            measure_floods(args, directory, servers)
    if "memory" in args.only and is_first:
        measure_memory(args, directory)


if __name__ == "__main__":
    arguments = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit("tls.py: two cores are needed, one for the server and one for its clients")
    # Processes that are forked have no threads of others in them.
    multiprocessing.set_start_method("fork")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open("/proc/cpuinfo") as processor:
        print("AVX-512 IFMA:", "yes" if "avx512ifma" in processor.read() else "no", "| a flooding client has", AT_A_TIME,
              "handshakes under way | the client that is timed is", be_punctual())
    for key in arguments.keys:
        with tempfile.TemporaryDirectory() as place:
            main(arguments, key, place)
