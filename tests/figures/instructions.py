#!/usr/bin/env python3
"""Instructions of user code per command, which are exact where times are not.

    instructions.py BINARY... [--commands N]

Needs valgrind and redis-benchmark. Each server runs under callgrind, once with few commands and once with many; the
difference counts.
"""
import argparse, os, subprocess, tempfile, time

from common import free_port

parser = argparse.ArgumentParser()
parser.add_argument("binaries", nargs="+")
parser.add_argument("--commands", type=int, default=40_000)
args = parser.parse_args()

PIPELINED = ["-P", "16"]
ROWS = [
    ("get", PIPELINED, ["get", "k:__rand_int__"]),
    ("set", PIPELINED, ["set", "k:__rand_int__", "abcdefgh"]),
    ("incr", PIPELINED, ["incr", "k:__rand_int__"]),
    ("lpush", PIPELINED, ["lpush", "l", "abc"]),
    ("zadd", PIPELINED, ["zadd", "z", "__rand_int__", "m:__rand_int__"]),
    ("mset", PIPELINED, ["mset"] + [word for n in range(10) for word in (f"k{n}:__rand_int__", "abcdefgh")]),
    ("eval", PIPELINED, ["eval", "return redis.call('incr',KEYS[1])", "1", "k"]),
    ("get, no pipeline", ["-P", "1"], ["get", "k:__rand_int__"]),
]


def instructions(binary, options, command, count):
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, binary, "--port", str(port), "--save", "",
             "--dir", directory], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cli = ["redis-cli", "-p", str(port)]
        while subprocess.run(cli + ["ping"], capture_output=True).returncode != 0:
            time.sleep(0.2)
        subprocess.run(["redis-benchmark", "-p", str(port), "-c", "4", "-q", "-r", "1000", "-n", str(count)] + options + command,
                       stdout=subprocess.DEVNULL, check=True)
        subprocess.run(cli + ["shutdown", "nosave"], capture_output=True)
        server.wait()
        with open(out) as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(("summary:", "totals:")))


print(f"{'':20}" + "".join(f"{os.path.basename(binary):>14}" for binary in args.binaries))
for name, options, command in ROWS:
    row = []
    for binary in args.binaries:
        few, many = (instructions(binary, options, command, count) for count in (1000, 1000 + args.commands))
        row.append((many - few) // args.commands)
    ratios = "".join(f"{own / row[-1]:8.3f}" for own in row[:-1])
    print(f"{name:20}" + "".join(f"{own:14}" for own in row) + ratios, flush=True)
