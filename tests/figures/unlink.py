#!/usr/bin/env python3
"""What other clients notice of the deletion of a large sorted set.

    unlink.py GYRE [MEMBERS]
"""
import sys, threading, time

# Else the threads of this script wait for each other as long as what is to be measured.
sys.setswitchinterval(0.0002)
from common import Server, encode

members = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
# Two cores and no real-time priority: among equals of one core the thread that frees would not be preempted.
server = Server(sys.argv[1], cores="0,1")


def fill():
    def commands():
        for first in range(0, members, 100):
            words = []
            for i in range(first, first + 100):
                words += [(i * 2654435761) % 1000003, "member:%012d" % i]
            yield encode("ZADD", "z", *words)
    server.pipeline(commands())


def delete(*words):
    s = server.connect()
    worst, stop = [0.0], []
    def ping():
        while not stop:
            begin = time.perf_counter()
            s.sendall(b"PING\r\n")
            s.recv(100)
            worst[0] = max(worst[0], time.perf_counter() - begin)
    server.run("CONFIG", "RESETSTAT")
    pinger = threading.Thread(target=ping)
    pinger.start()
    begin = time.perf_counter()
    server.run(*words)
    took_s = time.perf_counter() - begin
    while server.info()["lazyfree_pending_objects"] != "0":
        time.sleep(0.02)
    freed_s = time.perf_counter() - begin
    stop.append(True)
    pinger.join()
    longest_us = int(server.info()["loop_longest_turn_usec"])
    print("%-40s answered in %.2f ms, freed after %.1f s; longest turn %.2f ms; worst PING %.2f ms" %
          (" ".join(words), took_s * 1e3, freed_s, longest_us / 1e3, worst[0] * 1e3), flush=True)


try:
    fill()
    delete("UNLINK", "z")
    fill()
    server.run("CONFIG", "SET", "lazyfree-lazy-user-del", "yes")
    delete("DEL", "z")
finally:
    server.stop()
