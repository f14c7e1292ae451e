#!/usr/bin/env python3
"""What scripts, functions and transactions cost the server, beside redis-server.

    scripts.py GYRE REDIS_SERVER [ROUNDS]

Servers run on core 0, redis-benchmark or this script on core 1. Each figure is the server's CPU time per script or
transaction, the median of the rounds; the servers take turns within a round.
"""
import os, statistics, subprocess, sys

from common import Server, encode

GYRE, REDIS = sys.argv[1:3]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 5

ONE = "return redis.call('incr',KEYS[1])"
LOOP = "for i=1,1000 do redis.call('incr',KEYS[1]) end"
PAIR = "redis.call('set',KEYS[1],ARGV[1]) return redis.call('get',KEYS[1])"
JSON = "return cjson.encode(cjson.decode(ARGV[1]))"
TEXT = '{"a":[1,2,3,{"b":"c"}],"name":"x","n":1.5,"list":["a","b","c"]}'
LIBRARY = "#!lua name=l\nredis.register_function('f', function(k) return redis.call('incr', k[1]) end)"

# name, words of one command, commands in all
SINGLE = [
    ("EVAL of one INCR", ["EVAL", ONE, "1", "k"], 400_000),
    ("FCALL of one INCR", ["FCALL", "f", "1", "k"], 400_000),
    ("EVAL of SET and GET", ["EVAL", PAIR, "1", "k", "some value"], 200_000),
    ("EVAL of 1000 INCRs", ["EVAL", LOOP, "1", "k"], 4_000),
    ("EVAL of cjson both ways", ["EVAL", JSON, "0", TEXT], 100_000),
]
TRANSACTION = encode("MULTI") + b"".join(encode("INCR", f"k{i}") for i in range(10)) + encode("EXEC")


def benchmark(server, words, count):
    line = ["redis-benchmark", "-p", str(server.port), "-c", "50", "-P", "16", "-n", str(count), "-q"]
    subprocess.run(["taskset", "-c", "1"] + line + words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def transactions(server, count):
    s = server.connect()
    lines = None
    for _ in range(count // 16):
        s.sendall(TRANSACTION * 16)
        if lines is None:
            lines = 22 * 16
        left = lines
        while left > 0:
            left -= s.recv(1 << 16).count(b"\n")


def measure(binary, run, warm, count):
    server = Server(binary)
    try:
        s = server.connect()
        s.sendall(encode("FUNCTION", "LOAD", LIBRARY))
        s.recv(1000)
        run(server, warm)
        before = server.cpu_s()
        run(server, count)
        return (server.cpu_s() - before) / count * 1e6
    finally:
        server.stop()


os.sched_setaffinity(0, {1})
rows = [(name, lambda server, n, words=words: benchmark(server, words, n), count) for name, words, count in SINGLE]
rows.append(("MULTI, 10 INCRs, EXEC", transactions, 64_000))
print("| | gyre, µs | Redis, µs | gyre ÷ Redis |\n| --- | --- | --- | --- |")
for name, run, count in rows:
    taken = {GYRE: [], REDIS: []}
    for _ in range(ROUNDS):
        for binary in (GYRE, REDIS):
            taken[binary].append(measure(binary, run, count // 20, count))
    gyre, redis = statistics.median(taken[GYRE]), statistics.median(taken[REDIS])
    print(f"| {name} | {gyre:.2f} | {redis:.2f} | {gyre / redis:.2f} |", flush=True)
