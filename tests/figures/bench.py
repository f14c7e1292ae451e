#!/usr/bin/env python3
"""Servers side by side: CPU time per command, requests per second, bytes of memory per entry.

    bench.py [NAME=PROGRAM ...] [--suite quick|full|mem] [--rounds N] [--requests N] [--only ROW,ROW]

Without names: target/release/gyre, the Redis of `make peer`, and what redis-server and valkey-server the PATH has. Each
server runs alone on core 0, redis-benchmark on core 1, and the servers take turns within every round, so that a drift of
the machine's speed hits all alike. Printed are the medians of the rounds, and in brackets what the first server takes
divided by what the other takes: below 1 the first is better. Trust the CPU time: the load generator is the slower side
on most rows.
"""
import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

from common import Server, encode

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
VALUE = "x" * 64
LARGE = "x" * 1024
KEY = "key:__rand_int__"

# Name, length of the pipeline, part of the requests that are sent, command. They run in this order on one server, so
# that GET and the commands that pop find what was written before.
QUICK = [
    ("ping, no pipeline", 1, 0.25, ["PING"]),
    ("set, no pipeline", 1, 0.25, ["SET", KEY, VALUE]),
    ("get, no pipeline", 1, 0.25, ["GET", KEY]),
    ("ping", 16, 1, ["PING"]),
    ("set", 16, 1, ["SET", KEY, VALUE]),
    ("get", 16, 1, ["GET", KEY]),
    ("incr", 16, 1, ["INCR", "counter:__rand_int__"]),
    ("lpush", 16, 1, ["LPUSH", "list", "element"]),
    ("rpop", 16, 1, ["RPOP", "list"]),
    ("sadd", 16, 1, ["SADD", "set", "element:__rand_int__"]),
    ("hset", 16, 1, ["HSET", "hash", "field:__rand_int__", "value"]),
    ("zadd", 16, 1, ["ZADD", "zset", "__rand_int__", "element:__rand_int__"]),
    ("lrange_100", 16, 0.25, ["LRANGE", "range", "0", "99"]),
    ("mset, 10 keys", 16, 0.25, ["MSET"] + [KEY, VALUE] * 10),
]
FULL = QUICK + [
    ("spop", 16, 1, ["SPOP", "set"]),
    ("zpopmin", 16, 1, ["ZPOPMIN", "zset"]),
    ("lrange_600", 16, 0.1, ["LRANGE", "range", "0", "599"]),
    ("xadd", 16, 1, ["XADD", "stream", "*", "field", "value"]),
    ("eval of one incr", 16, 0.5, ["EVAL", "return redis.call('incr', KEYS[1])", "1", "counter"]),
    ("set, 1 KiB", 16, 0.5, ["SET", "large:__rand_int__", LARGE]),
    ("get, 1 KiB", 16, 0.5, ["GET", "large:__rand_int__"]),
    ("ping, pipeline 64", 64, 2, ["PING"]),
    ("set, pipeline 64", 64, 2, ["SET", KEY, VALUE]),
    ("get, pipeline 64", 64, 2, ["GET", KEY]),
    ("incr, pipeline 64", 64, 2, ["INCR", "counter:__rand_int__"]),
]

# Name, how many, the command for each number.
SHAPES = [
    ("16 B key, 64 B value", 2_000_000, lambda n: ["SET", "key:%012d" % n, VALUE]),
    ("16 B key, 16 B value, TTL", 2_000_000, lambda n: ["SET", "key:%012d" % n, "x" * 16, "EX", "100000"]),
    ("field of 18 B, value of 8 B", 1_000_000, lambda n: ["HSET", "hash", "field:%012d" % n, "value:12"]),
    # A multiplication modulo a prime puts the scores into an order without a pattern, and the same for all servers.
    ("member of 19 B, mixed scores", 1_000_000,
     lambda n: ["ZADD", "zset", str(n * 7_919 % 1_000_003), "member:%012d" % n]),
]


def named_servers(words):
    servers = {}
    for word in words:
        name, is_named, program = word.partition("=")
        if not is_named or not shutil.which(program):
            sys.exit("bench: %s: NAME=PROGRAM is wanted, of a program that is there" % word)
        servers[name] = program
    return servers


def default_servers():
    candidates = {"gyre": PROJECT / "target/release/gyre", "peer": PROJECT / "target/peer/redis-server",
                  "redis": "redis-server", "valkey": "valkey-server"}
    servers = {name: found for name, program in candidates.items() if (found := shutil.which(program))}
    if "gyre" not in servers or len(servers) == 1:
        sys.exit("bench: target/release/gyre (make build) and a server to compare with are wanted: redis-server or "
                 "valkey-server on the PATH, that of `make peer`, or NAME=PROGRAM")
    return servers


def show_versions(servers):
    for name, program in servers.items():
        version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
        print("%-10s %s (%s)" % (name, program, version))
    print(flush=True)


def load(port, pipeline, requests, words):
    """Requests per second, as redis-benchmark counts them."""
    command = ["taskset", "-c", "1", "redis-benchmark", "-p", str(port), "-c", "50", "-P", str(pipeline),
               "-n", str(requests), "-r", "1000000", "--csv", *words]
    output = subprocess.run(command, capture_output=True, text=True)
    # The last line: the command and figures, each in quotes, the rate first.
    rate = re.search(r'","([\d.]+)"[^\n]*\n?\Z', output.stdout)
    if output.returncode != 0 or not rate:
        sys.exit("bench: redis-benchmark %s failed: %s%s" % (words[0], output.stdout, output.stderr))
    return float(rate[1])


def speed(servers, rows, rounds, requests):
    found = {}
    for _ in range(rounds):
        for name, program in servers.items():
            server = Server(program)
            try:
                server.run("RPUSH", "range", *["element:%d" % n for n in range(600)])
                for row, pipeline, part, words in rows:
                    count = max(int(requests * part), 1)
                    before = server.cpu_s()
                    rate = load(server.port, pipeline, count, words)
                    cpu_us = (server.cpu_s() - before) * 1e6 / count
                    found.setdefault((row, name), []).append((cpu_us, rate))
            finally:
                server.stop()
    first = next(iter(servers))
    print("medians of %d rounds: us of CPU per command, requests per second%s"
          % (rounds, ", %s / other in CPU" % first if len(servers) > 1 else ""))
    print("%-20s" % "pipeline 16 if not said" + "".join("%28s" % name for name in servers))
    for row, *_ in rows:
        medians = {name: [statistics.median(column) for column in zip(*found[row, name])] for name in servers}
        line = "%-23s" % row
        for name, (cpu_us, rate) in medians.items():
            ratio = "" if name == first else "(%.2f)" % (medians[first][0] / cpu_us)
            line += "%9.3f %9.0f %7s " % (cpu_us, rate, ratio)
        print(line.rstrip(), flush=True)


def memory(servers, rounds, part):
    first = next(iter(servers))
    print("resident bytes per entry, medians of %d rounds" % rounds)
    print("%-32s" % "" + "".join("%20s" % name for name in servers))
    for shape, entries, words in SHAPES:
        entries = int(entries * part)
        found = {}
        for _ in range(rounds):
            for name, program in servers.items():
                server = Server(program)
                try:
                    before = server.resident_bytes()
                    server.pipeline(encode(*words(n)) for n in range(entries))
                    found.setdefault(name, []).append((server.resident_bytes() - before) / entries)
                finally:
                    server.stop()
        medians = {name: statistics.median(values) for name, values in found.items()}
        line = "%-32s" % shape
        for name, value in medians.items():
            ratio = "" if name == first else "(%.3f)" % (medians[first] / value)
            line += "%11.1f %8s" % (value, ratio)
        print(line.rstrip(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="NAME=PROGRAM")
    parser.add_argument("--suite", choices=["quick", "full", "mem"], default="quick")
    parser.add_argument("--rounds", type=int, help="default: 3, and 1 for memory, which varies little")
    parser.add_argument("--requests", type=int, default=400_000, help="of a usual row at pipeline 16")
    parser.add_argument("--only", help="only these rows, separated by commas that no space follows")
    parser.add_argument("--part", type=float, default=1, help="for mem: a part of the entries")
    options = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit("bench: two cores are wanted, one for the server and one for the load")
    for tool in ["taskset", "redis-benchmark"]:
        if not shutil.which(tool):
            sys.exit("bench: %s is not installed (Debian: util-linux, redis-tools)" % tool)
    servers = named_servers(options.servers) or default_servers()
    show_versions(servers)
    if options.suite == "mem":
        return memory(servers, options.rounds or 1, options.part)
    rows = FULL if options.suite == "full" else QUICK
    if options.only:
        wanted = re.split(r",(?! )", options.only)
        rows = [row for row in FULL if row[0] in wanted]
        if len(rows) != len(wanted):
            sys.exit("bench: rows are: " + "; ".join(row[0] for row in FULL))
    speed(servers, rows, options.rounds or 3, options.requests)


main()
