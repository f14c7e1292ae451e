#!/usr/bin/env python3
"""What PUBLISH costs the server, to 1, 100 and 1000 subscribers, beside redis-server.

    publish.py GYRE REDIS_SERVER [PIPELINE]

Servers run on core 0, this script on core 1. Messages of 64 bytes; each figure is the server's CPU time per publish, and
what of it is its own (the rest is the system's, which carries each message through a socket).
"""
import os, select, sys

from common import Server, encode

GYRE, REDIS = sys.argv[1:3]
PIPELINE = int(sys.argv[3]) if len(sys.argv) > 3 else 16
PUBLISHES = {1: 640_000, 100: 48_000, 1000: 4_800}
MESSAGE = b"x" * 64


def drain(sockets, total, ready):
    """Reads `total` bytes from the subscribers, in a process of its own."""
    poll = select.epoll()
    by_fd = {s.fileno(): s for s in sockets}
    for s in sockets:
        s.setblocking(False)
        poll.register(s.fileno(), select.EPOLLIN)
    buffer = bytearray(1 << 18)
    os.write(ready, b"x")
    while total > 0:
        for fd, _ in poll.poll():
            try:
                n = by_fd[fd].recv_into(buffer)
            except BlockingIOError:
                continue
            if n == 0:
                sys.exit("a subscriber was cut off")
            total -= n
    os.write(ready, b"x")


def user_s(server):
    fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def measure(binary, subscribers, command, words):
    """µs of the server's CPU per publish: all, and in its own code."""
    server = Server(binary)
    try:
        sockets = []
        for _ in range(subscribers):
            s = server.connect()
            s.sendall(encode(command, *words))
            s.recv(1000)
            sockets.append(s)
        rounds = PUBLISHES[subscribers] // PIPELINE
        publishes = rounds * PIPELINE
        parts = [b"message", b"news"] if command == "SUBSCRIBE" else [b"pmessage", words[0], b"news"]
        frame = len(encode(*parts, MESSAGE))
        r, w = os.pipe()
        child = os.fork()
        if child == 0:
            drain(sockets, frame * publishes * subscribers, w)
            os._exit(0)
        os.read(r, 1)
        publisher = server.connect()
        batch = encode("PUBLISH", "news", MESSAGE) * PIPELINE
        answer = len(b":%d\r\n" % subscribers) * PIPELINE
        before = server.cpu_s(), user_s(server)
        for _ in range(rounds):
            publisher.sendall(batch)
            left = answer
            while left:
                left -= len(publisher.recv(left))
        os.read(r, 1)
        os.waitpid(child, 0)
        return [(now - then) / publishes * 1e6 for now, then in zip((server.cpu_s(), user_s(server)), before)]
    finally:
        server.stop()


os.sched_setaffinity(0, {1})
print("pipeline %d: µs of server CPU per publish" % PIPELINE)
for subscribers in PUBLISHES:
    for command, words in (("SUBSCRIBE", [b"news"]), ("PSUBSCRIBE", [b"ne*"])):
        ours, theirs = measure(GYRE, subscribers, command, words), measure(REDIS, subscribers, command, words)
        print("%4d subscribers (%-10s): gyre %8.2f (own %6.2f)  redis %8.2f (own %6.2f)  ratio %.2f (own %.2f)" %
              (subscribers, command, *ours, *theirs, ours[0] / theirs[0], ours[1] / max(theirs[1], 0.001)), flush=True)
