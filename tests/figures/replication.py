#!/usr/bin/env python3
"""What replicas cost the primary, and how long a full synchronisation takes, beside redis-server.

    replication.py GYRE REDIS_SERVER [WRITES [KEYS]]

Primaries run on core 0; replicas and this script on core 1. The first figure is the primary's CPU time per SET (64 bytes,
pipeline 16) with 0, 1 and 3 replicas of its own kind. The second is the full synchronisation of KEYS keys of 64 bytes,
diskless, to an empty replica and once more to one that has data: the time from REPLICAOF until the link is up, and the longest
turn of the loop meanwhile on both sides, which is what a client that asks PING all the time waits at most.
"""
import sys, threading, time

from common import Server, encode

GYRE, REDIS = sys.argv[1:3]
WRITES = int(sys.argv[3]) if len(sys.argv) > 3 else 2_000_000
KEYS = int(sys.argv[4]) if len(sys.argv) > 4 else 5_000_000
PIPELINE = 16
DIRECTIVES = ["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb", "--appendonly", "no",
              "--enable-debug-command", "yes"]


def follow(replica, primary):
    """Has one follow the other; the time until it does."""
    begun = time.perf_counter()
    replica.run("REPLICAOF", "127.0.0.1", primary.port)
    while replica.info().get("master_link_status") != "up":
        time.sleep(0.01)
    return time.perf_counter() - begun


def caught_up(replica, primary):
    while replica.info()["master_repl_offset"] != primary.info()["master_repl_offset"]:
        time.sleep(0.01)


def per_write(binary, count):
    """µs of the primary's CPU per write with so many replicas."""
    primary = Server(binary, *DIRECTIVES)
    replicas = []
    try:
        for _ in range(count):
            replicas.append(Server(binary, *DIRECTIVES, cores="1"))
            follow(replicas[-1], primary)
        command = [encode("SET", f"key:{n % 100_000}", b"v" * 64) for n in range(100_000)]
        writes = lambda n: (command[i % len(command)] for i in range(n))
        primary.pipeline(writes(100_000), PIPELINE)
        begun = primary.cpu_s()
        primary.pipeline(writes(WRITES), PIPELINE)
        for replica in replicas:
            caught_up(replica, primary)
        return (primary.cpu_s() - begun) / WRITES * 1e6
    finally:
        for server in [primary, *replicas]:
            server.stop()


class Pinger(threading.Thread):
    """The longest time that a PING takes while it runs."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.socket, self.longest_ms, self.goes_on = server.connect(), 0.0, True
        self.start()

    def run(self):
        while self.goes_on:
            begun = time.perf_counter()
            self.socket.sendall(b"PING\r\n")
            self.socket.recv(1000)
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - begun) * 1e3)
            time.sleep(0.0005)

    def stop(self):
        self.goes_on = False
        self.join()
        return self.longest_ms


def full(binary):
    """Seconds, and the longest waits at the primary and at the replica, ms; for an empty replica and for a full one."""
    primary, replica = Server(binary, *DIRECTIVES), Server(binary, *DIRECTIVES, cores="1")
    try:
        primary.run("DEBUG", "POPULATE", KEYS, "key", 64)
        figures = []
        for _ in range(2):
            pingers = [Pinger(primary), Pinger(replica)]
            took_s = follow(replica, primary)
            figures.append((took_s, *(pinger.stop() for pinger in pingers)))
            # It has an ID of its own then, so that the next synchronisation is a full one again.
            replica.run("REPLICAOF", "NO", "ONE")
        return figures
    finally:
        primary.stop()
        replica.stop()


def main():
    print(f"CPU per write at pipeline {PIPELINE}, µs ({WRITES} writes)")
    print("| replicas | gyre | redis | of it |\n| --- | --- | --- | --- |")
    for count in (0, 1, 3):
        ours, theirs = per_write(GYRE, count), per_write(REDIS, count)
        print(f"| {count} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |", flush=True)
    print(f"\nfull synchronisation of {KEYS} keys")
    print("| server | replica | s | longest wait at the primary, ms | at the replica, ms |")
    print("| --- | --- | --- | --- | --- |")
    for name, binary in (("gyre", GYRE), ("redis", REDIS)):
        for what, (took_s, primary_ms, replica_ms) in zip(("empty", "full"), full(binary)):
            print(f"| {name} | {what} | {took_s:.2f} | {primary_ms:.1f} | {replica_ms:.1f} |", flush=True)


main()
