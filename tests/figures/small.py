#!/usr/bin/env python3
"""Lists and sets of five elements: bytes of memory per key, and the server's CPU per command.

    small.py BINARY... [--keys N] [--rounds N]

Bytes are the growth of used_memory divided by the keys. Each value is made by one command with five elements, and again
by five commands with one each; the servers take turns within a round, and medians are printed.
"""
import argparse, statistics

from common import Server, encode

parser = argparse.ArgumentParser()
parser.add_argument("binaries", nargs="+")
parser.add_argument("--keys", type=int, default=500_000)
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()

WORDS = ["element:%d" % n for n in range(5)]
ROWS = [
    ("RPUSH of five", "RPUSH", lambda key: WORDS),
    ("SADD of five strings", "SADD", lambda key: WORDS),
    ("SADD of five integers", "SADD", lambda key: ["%d" % (key * 7 + n) for n in range(5)]),
]


def commands(word, elements, singly):
    for key in range(args.keys):
        name = "key:%012d" % key
        if singly:
            for element in elements(key):
                yield encode(word, name, element)
        else:
            yield encode(word, name, *elements(key))


def measure(binary, word, elements, singly):
    server = Server(binary)
    try:
        bytes_before, cpu_before = int(server.info()["used_memory"]), server.cpu_s()
        server.pipeline(commands(word, elements, singly), batch=160)
        cpu_s = server.cpu_s() - cpu_before
        bytes_grown = int(server.info()["used_memory"]) - bytes_before
        count = args.keys * (5 if singly else 1)
        return bytes_grown / args.keys, cpu_s * 1e6 / count
    finally:
        server.stop()


for title, word, elements in ROWS:
    for singly in (False, True):
        found = {binary: [] for binary in args.binaries}
        for _ in range(args.rounds):
            for binary in args.binaries:
                found[binary].append(measure(binary, word, elements, singly))
        for binary in args.binaries:
            per_key, us = (statistics.median(column) for column in zip(*found[binary]))
            print("%-24s %-12s %6.1f bytes per key, %.2f us per command  %s"
                  % (title, "one by one" if singly else "at once", per_key, us, binary), flush=True)
