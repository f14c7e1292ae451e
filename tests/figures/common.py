"""What the measurements share: servers on a free port, pipelined commands, figures from INFO."""
import os, shutil, socket, subprocess, tempfile, time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def encode(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Server:
    """A server on core 0 in a directory of its own (or in `directory`, which it leaves alone)."""

    def __init__(self, binary, *directives, directory=None, realtime=False, cores="0"):
        self.owned = directory is None
        self.directory = directory or tempfile.mkdtemp()
        self.port = free_port()
        start = ["taskset", "-c", cores] + (["chrt", "-f", "50"] if realtime else [])
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            start + [binary, "--port", str(self.port), "--dir", self.directory, "--save", ""] + list(directives),
            stdout=subprocess.DEVNULL)
        # Until it answers PING it loads.
        while True:
            try:
                s = self.connect()
                s.sendall(b"PING\r\n")
                if s.recv(100).startswith(b"+PONG"):
                    break
            except OSError:
                pass
            time.sleep(0.005)
        self.ready_s = time.perf_counter() - self.begun

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def run(self, *words):
        s = self.connect()
        s.sendall(encode(*words))
        data = s.recv(1 << 20)
        s.close()
        return data

    def info(self):
        s = self.connect()
        s.sendall(encode("INFO", "everything"))
        data = b""
        while b"\r\n" not in data:
            data += s.recv(1 << 16)
        want = int(data[1:data.index(b"\r\n")]) + data.index(b"\r\n") + 4
        while len(data) < want:
            data += s.recv(1 << 16)
        s.close()
        return dict(line.split(":", 1) for line in data.decode().splitlines() if ":" in line)

    def pipeline(self, commands, batch=1000):
        """Sends commands that answer one line each."""
        s = self.connect()
        pending = []
        def flush():
            s.sendall(b"".join(pending))
            left = len(pending)
            while left:
                left -= s.recv(1 << 16).count(b"\r\n")
            pending.clear()
        for command in commands:
            pending.append(command)
            if len(pending) == batch:
                flush()
        flush()
        s.close()

    def cpu_s(self):
        """Time on a core, to the nanosecond, of all threads that there are (one that has ended is no longer counted)."""
        total_ns = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as f:
                total_ns += int(f.read().split()[0])
        return total_ns / 1e9

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        self.process.kill()
        self.process.wait()
        if self.owned:
            shutil.rmtree(self.directory)
