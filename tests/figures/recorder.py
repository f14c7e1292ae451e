#!/usr/bin/env python3
"""What the recorder of the loop costs: the same server with loop-trace on and off, in turns.

    recorder.py GYRE [ROUNDS [COMMANDS]]

One server on core 0 with real-time priority (chrt needs the right to give it), redis-benchmark on core 1. In each round
every test runs with the recorder on and off, one right after the other and in changing order, so that a drift of the
machine's speed hits both alike. Prints medians of the throughput and of the server's own CPU time per command, the
median of the rounds' ratios of both (above 1: better with the recorder on), with the quartiles of the latter, and what
the recorder says of its own cost.
"""
import shutil, statistics, subprocess, sys
from common import Server

rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
commands = int(sys.argv[3]) if len(sys.argv) > 3 else 300_000
bench = shutil.which("redis-benchmark")
TESTS = [
    ("get, 1 client", ["-c", "1", "-P", "1", "-t", "get", "-r", "100000"], 8),
    ("get, 50 clients", ["-c", "50", "-P", "1", "-t", "get", "-r", "100000"], 3),
    ("set, 50 clients", ["-c", "50", "-P", "1", "-t", "set", "-r", "100000"], 3),
    ("get, pipeline 16", ["-c", "50", "-P", "16", "-t", "get", "-r", "1000000", "-d", "64"], 1),
    ("set, pipeline 16", ["-c", "50", "-P", "16", "-t", "set", "-r", "1000000", "-d", "64"], 1),
    ("incr, pipeline 16", ["-c", "50", "-P", "16", "-t", "incr", "-r", "1000000"], 1),
    ("lrange_100, pipeline 16", ["-c", "50", "-P", "16", "-t", "lrange_100"], 3),
]
server = Server(sys.argv[1], realtime=True)


def cpu_s():
    info = server.info()
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def measure(args, n):
    begin = cpu_s()
    out = subprocess.run(["taskset", "-c", "1", bench, "-p", str(server.port), "-n", str(n), "--csv"] + args,
                         capture_output=True, text=True).stdout
    cpu_us = (cpu_s() - begin) / n * 1e6
    rows = [line for line in out.splitlines() if line.startswith('"') and '"rps"' not in line]
    return float(rows[-1].split('","')[1].strip('"')), cpu_us


try:
    server.run("CONFIG", "SET", "loop-trace", "yes")
    found = {}
    for number in range(rounds):
        for label, args, fewer in TESTS:
            for mode in (("no", "yes") if number % 2 else ("yes", "no")):
                server.run("CONFIG", "SET", "loop-trace", mode)
                found.setdefault((label, mode), []).append(measure(args, commands // fewer))
    print("%-25s%12s%12s%8s%12s%12s%8s" % ("", "rps on", "rps off", "on/off", "µs CPU on", "µs CPU off", "off/on"))
    for label, _, _ in TESTS:
        rows = {mode: found[label, mode] for mode in ("yes", "no")}
        on, off = ([statistics.median(column) for column in zip(*rows[mode])] for mode in ("yes", "no"))
        pairs = list(zip(rows["yes"], rows["no"]))
        rps = statistics.median(yes[0] / no[0] for yes, no in pairs)
        low, cpu, high = statistics.quantiles((no[1] / yes[1] for yes, no in pairs), n=4)
        print("%-25s%12.0f%12.0f%8.3f%12.3f%12.3f%8.3f  (%.3f to %.3f)" %
              (label, on[0], off[0], rps, on[1], off[1], cpu, low, high), flush=True)
    info = server.info()
    print("by its own reckoning: %.2f %% of the time awake" %
          (100 * float(info["loop_recorder_cost_usec"]) / float(info["loop_awake_recorded_usec"])))
finally:
    server.stop()
