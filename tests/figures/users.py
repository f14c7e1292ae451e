#!/usr/bin/env python3
"""What asking a user's rules costs: CPU per command of one server, for users who may do everything and for users who may not.

    users.py BINARY [--commands N] [--rounds N] [--instructions]

Needs redis-benchmark and redis-cli. All users are of one server, and take turns; medians of the rounds. With --instructions
it counts those of user code, under valgrind, which are exact also on a busy machine.
"""
import argparse, os, statistics, subprocess, tempfile, time

from common import free_port

parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("--commands", type=int)
parser.add_argument("--rounds", type=int, default=8)
parser.add_argument("--instructions", action="store_true")
args = parser.parse_args()
COMMANDS = args.commands or (40_000 if args.instructions else 400_000)

PREFIXES = [f"~app{n}:*" for n in range(19)]
USERS = [
    ("everything", ["~*", "&*", "+@all"]),
    ("all but one command", ["~*", "&*", "+@all", "-flushall"]),
    ("twenty prefixes", PREFIXES + ["~k:*", "&*", "+@all"]),
    ("twenty globs", [f"~*app{n}:*" for n in range(19)] + ["~k:*", "&*", "+@all"]),
    ("twenty globs, of which the last matches", [f"~*app{n}:*" for n in range(19)] + ["~*k:*", "&*", "+@all"]),
    ("a budget that is never used up", ["~*", "&*", "+@all", "cpu=1000/s"]),
]
ROWS = [
    ("get", ["get", "k:__rand_int__"]),
    ("set", ["set", "k:__rand_int__", "abcdefgh"]),
    ("lpush", ["lpush", "k:l", "abc"]),
    ("mset of ten", ["mset"] + [word for n in range(10) for word in (f"k:{n}:__rand_int__", "abcdefgh")]),
]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, directory, prefix=()):
        self.port = free_port()
        self.process = subprocess.Popen(
            list(prefix) + [args.binary, "--port", str(self.port), "--save", "", "--dir", directory],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while subprocess.run(self.cli("ping"), capture_output=True).returncode != 0:
            time.sleep(0.1)
        for number, (_, rules) in enumerate(USERS):
            told = subprocess.run(self.cli("acl", "setuser", f"u{number}", "on", ">pw", *rules), capture_output=True, text=True)
            assert told.stdout.strip() == "OK", told.stdout

    def cli(self, *words):
        return ["redis-cli", "-p", str(self.port), *words]

    def load(self, number, command, count):
        subprocess.run(
            ["redis-benchmark", "-p", str(self.port), "--user", f"u{number}", "-a", "pw", "-c", "50", "-q", "-r", "1000",
             "-P", "16", "-n", str(count)] + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def end(self):
        subprocess.run(self.cli("shutdown", "nosave"), capture_output=True)
        self.process.wait()


def instructions(directory, number, command, count):
    out = os.path.join(directory, "out")
    server = Server(directory, ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out])
    server.load(number, command, count)
    server.end()
    with open(out) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(("summary:", "totals:")))


def show(name, figures, unit):
    shown = "".join(f"{figure:10.3f} ({figure / figures[0]:.3f})" for figure in figures)
    print(f"{name:14}{shown}  {unit}", flush=True)


with tempfile.TemporaryDirectory() as directory:
    print(" | ".join(name for name, _ in USERS))
    if args.instructions:
        for name, command in ROWS:
            figures = []
            for number in range(len(USERS)):
                few, many = (instructions(directory, number, command, count) for count in (1600, 1600 + COMMANDS))
                figures.append((many - few) / COMMANDS)
            show(name, figures, "instructions")
    else:
        server = Server(directory)
        for name, command in ROWS:
            taken = [[] for _ in USERS]
            for round in range(args.rounds):
                for number in range(len(USERS)):
                    before = cpu_seconds(server.process.pid)
                    server.load(number, command, COMMANDS)
                    taken[number].append((cpu_seconds(server.process.pid) - before) / COMMANDS * 1e6)
            show(name, [statistics.median(it) for it in taken], "µs")
        server.end()
