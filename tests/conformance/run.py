#!/usr/bin/env python3
"""Runs Redis's own test suite, of 8.0.6 or 7.0.15, against a server and compares with the list that is kept here.

    tests/conformance/run.py [--suite 7.0.15] [--tls] [--server PROGRAM] [FILE ...]

A FILE is a test file as the suite names it (unit/type/string), or a folder (unit/type) for all in it; without any, all
files of the list run. The suite comes from Debian's source package and is unpacked, with the redis-cli and
redis-benchmark that it calls built from it, into target/conformance/. Needs tclsh, a C and C++ compiler and dpkg-dev.

Each file runs in a fresh copy of the suite. A row a file: how many tests passed, how many Redis itself passes there. The
list, expected-VERSION.txt, says for each file how many these are and which tests may fail; docs/compatibility.md says
why. The exit status is 0 if and only if no test failed that is not on the list and no file passed fewer than the list
says (a test that is not reached says nothing itself). A listed test that passes is only noted, for some are decided by
chance. `--write` puts what came out into the list.

With `--tls` all of it goes over TLS, with certificates that the suite makes. That needs openssl, its headers and tcl-tls
as well. expected-VERSION-tls.txt then stands before the list, with the files that come out otherwise.
"""
import argparse
import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
# Version of the suite: the Debian releases that may have its sources.
RELEASES = {"8.0.6": ["sid", "forky"], "7.0.15": ["bookworm"]}
TOOLS = ["redis-cli", "redis-benchmark"]
# What the suite starts as a server. The programs that check files are the same one under another name, as in Redis.
SERVERS = ["redis-server", "redis-sentinel", "redis-check-rdb", "redis-check-aof"]
# The suite takes the ports of a file's servers from a range, and its own from just below.
PORTS = 1500
PORTS_BELOW = 40


class Row:
    """What the list says of a file: tests passed by Redis, tests passed by gyre, and those that may fail."""

    def __init__(self, reference, passed, failed=()):
        self.reference = reference
        self.passed = passed
        self.failed = list(failed)

    def is_like(self, other):
        """Whether both say the same of a file."""
        return other is not None and vars(self) == vars(other)

    def missed(self, passed, failed):
        """What came out worse than the list says.

        >>> Row(10, 8, ["a", "b"]).missed(8, ["a", "b"])
        []
        >>> Row(10, 8, ["a", "b"]).missed(7, ["a", "b", "c"])
        ['failed: c']
        >>> Row(10, 8, ["a", "b"]).missed(5, ["a"])
        ['3 fewer passed, not reached']
        """
        news = [f"failed: {name}" for name in failed if name not in self.failed]
        fewer = self.passed - passed
        if fewer > len(news):
            news.append(f"{fewer - len(news)} fewer passed, not reached")
        return news

    def better(self, passed, failed):
        """What came out better: the list can be made stricter.

        >>> Row(10, 8, ["a", "b"]).better(9, ["b"])
        ['1 more passed', 'passed: a']
        >>> Row(10, 8, ["a", "b"]).better(5, ["a"])
        []
        """
        if passed <= self.passed:
            return []
        return [f"{passed - self.passed} more passed"] + [
            f"passed: {name}" for name in self.failed if name not in failed]


def read_list(path):
    """The rows of the list. A line `FILE PASSED / REFERENCE`, then the tests that may fail, each on an indented line."""
    rows = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        head = re.fullmatch(r"(\S+) +(\d+) / (\d+)", line)
        if head:
            row = rows[head[1]] = Row(int(head[3]), int(head[2]))
        elif line.startswith("    ") and rows:
            row.failed.append(line[4:])
        else:
            sys.exit(f"{path}:{number}: neither a file nor a test")
    return rows


def write_list(path, rows):
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    lines = []
    for file, row in sorted(rows.items()):
        lines.append(f"{file} {row.passed} / {row.reference}")
        lines.extend(f"    {name}" for name in row.failed)
    path.write_text("\n".join(comments + lines) + "\n")


def suite_tree(version, over_tls):
    """The unpacked suite with the tools that it calls; fetched and built where it is not there yet."""
    tools = [("tclsh", "tcl"), ("dpkg-source", "dpkg-dev"), ("make", "make"), ("cc", "gcc"), ("c++", "g++")]
    if over_tls:
        tools.append(("openssl", "openssl"))
    missing = [f"{tool} (Debian's {package})" for tool, package in tools if not shutil.which(tool)]
    if over_tls and not missing and subprocess.run(["tclsh"], input=b"exit [catch {package require tls 1.6}]",
                                                   stdout=subprocess.DEVNULL).returncode != 0:
        missing.append("TLS for Tcl (Debian's tcl-tls)")
    if missing:
        sys.exit("conformance: not installed: " + ", ".join(missing))
    # Apart, for the tools are others: without TLS they need no OpenSSL.
    folder = PROJECT / "target" / "conformance" / (version + ("-tls" if over_tls else ""))
    fetch = PROJECT / "tests" / "common" / "debian_source.sh"
    if subprocess.run([fetch, folder, "redis", version, *RELEASES[version]]).returncode != 0:
        sys.exit(f"conformance: the sources of the suite {version} are not to be had; see above")
    tree = folder / "tree"
    if not all((tree / "src" / tool).exists() for tool in TOOLS):
        print("conformance: building the suite's redis-cli and redis-benchmark", flush=True)
        log = folder / "build.log"
        with open(log, "w") as output:
            # A build that was broken off takes the libraries that it did not come to for built.
            tls = "BUILD_TLS=yes" if over_tls else "BUILD_TLS=no"
            for targets in [["distclean"], ["MALLOC=libc", tls, "USE_SYSTEMD=no", *TOOLS]]:
                built = subprocess.run(["make", "-C", tree / "src", *targets], stdout=output, stderr=subprocess.STDOUT)
        if built.returncode != 0:
            sys.exit(f"conformance: the build failed: {log}")
    # Made last by the program that makes the others.
    if over_tls and not (tree / "tests" / "tls" / "redis.dh").exists():
        print("conformance: making the suite's certificates", flush=True)
        subprocess.run([tree / "utils" / "gen-test-certs.sh"], cwd=tree, stderr=subprocess.DEVNULL, check=True)
    return tree


def results(log):
    """How many tests passed in the suite's output, which failed, and why the file ended early if it did.

    >>> results("[ok]: one (3 ms)\\n[err]: two in tests/unit/x.tcl\\nbut\\n[exception]: Executing test client: gone.\\n")
    (1, ['two'], 'Executing test client: gone.')
    >>> results("[ok]: one\\n\\n                   The End\\n")
    (1, [], '')
    """
    log = re.sub(r"\x1b\[[\d;]*m", "", log)
    passed = len(re.findall(r"^\[ok\]: ", log, re.M))
    failed = re.findall(r"^\[err\]: (.*) in tests/\S+$", log, re.M)
    early = re.search(r"^\[(?:exception|TIMEOUT)\]: (.*)$", log, re.M)
    ended = "The End" in log
    return passed, failed, early[1] if early else "" if ended else "no end"


def stop_all_in(folder, group):
    """Ends the suite and the servers that it left: its process group, and whoever works in the copy."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if pathlib.Path(os.readlink(process / "cwd")).is_relative_to(folder):
                os.kill(int(process.name), signal.SIGKILL)


class Ports:
    """Ranges of ports, one for each file that runs."""

    def __init__(self):
        self.taken = set()
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def range(self):
        with self.lock:
            base = next(base for base in iter(self.draw, None) if base not in self.taken and is_free(base - 32))
            self.taken.add(base)
        try:
            yield base
        finally:
            self.taken.discard(base)

    @staticmethod
    def draw():
        # Below the range from which the system gives out ports of its own.
        return random.randrange(12000, 32000 - PORTS, PORTS + PORTS_BELOW)


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def run_file(tree, file, server, ports, options):
    """Runs one file in a copy of the suite of its own."""
    with tempfile.TemporaryDirectory(prefix="gyre-conformance-") as folder, ports.range() as base:
        folder = pathlib.Path(folder).resolve()
        for part in ["tests", "utils"]:
            shutil.copytree(tree / part, folder / part, symlinks=True)
        (folder / "src").mkdir()
        for name in SERVERS:
            (folder / "src" / name).symlink_to(server)
        for name in TOOLS:
            (folder / "src" / name).symlink_to(tree / "src" / name)
        command = ["tclsh", "tests/test_helper.tcl", "--single", file, "--clients", "1", "--durable",
                   "--baseport", str(base), "--portcount", str(PORTS), "--timeout", str(options.timeout)]
        if options.only:
            command += ["--only", options.only]
        if options.tls:
            command.append("--tls")
        log = tree.parent / "logs" / (file.replace("/", "_") + ".log")
        log.parent.mkdir(exist_ok=True)
        with open(log, "wb") as output:
            suite = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.STDOUT, start_new_session=True)
            try:
                # The suite ends by itself where no test ends for so long; this is for one that does not.
                suite.wait(10 * options.timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                stop_all_in(folder, suite.pid)
                suite.wait()
        return results(log.read_text(errors="replace"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--suite", choices=list(RELEASES), default="8.0.6")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--server", default=PROJECT / "target" / "release" / "gyre", help="default: target/release/gyre")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time")
    parser.add_argument("--timeout", type=int, default=240, help="seconds without a test that ends, after which a file is over")
    parser.add_argument("--only", metavar="TEST", help="only the test of this name; nothing is compared with the list")
    parser.add_argument("--list", action="store_true", help="print the files of the list and end")
    parser.add_argument("--write", action="store_true", help="put what came out into the list")
    return parser.parse_args()


def main():
    options = arguments()
    path = HERE / f"expected-{options.suite}.txt"
    rows = read_list(path)
    elsewhere = {}
    if options.tls:
        elsewhere = rows
        path = HERE / f"expected-{options.suite}-tls.txt"
        rows = elsewhere | read_list(path)
    wanted = [file for file in sorted(rows) if not options.files
              or any(file == name or file.startswith(name.rstrip("/") + "/") for name in options.files)]
    if options.list:
        print("\n".join(f"{rows[file].passed:4} / {rows[file].reference:<4} {file}" for file in wanted))
        return 0
    if not wanted:
        sys.exit("conformance: no such file on the list; --list prints them")
    server = shutil.which(options.server)
    if not server:
        sys.exit(f"conformance: no program: {options.server} (make build)")
    server = os.path.abspath(server)
    tree = suite_tree(options.suite, options.tls)
    ports = Ports()
    total, reference, worse = 0, 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(run_file, tree, file, server, ports, options): file for file in wanted}
        for run in concurrent.futures.as_completed(runs):
            file, (passed, failed, early) = runs[run], run.result()
            row = rows[file]
            print(f"{passed:4} / {row.reference:<4} {file}" + (f"   ended early: {early[:120]}" if early else ""))
            total, reference = total + passed, reference + row.reference
            if options.only:
                print("".join(f"            failed: {name}\n" for name in failed), end="")
                worse += len(failed)
            elif options.write:
                rows[file] = Row(row.reference, passed, failed)
                write_list(path, {file: row for file, row in rows.items() if not row.is_like(elsewhere.get(file))})
            else:
                news = row.missed(passed, failed)
                worse += len(news)
                print("".join(f"            NOT EXPECTED {line}\n" for line in news), end="")
                print("".join(f"            better than the list: {line}\n" for line in row.better(passed, failed)), end="")
            sys.stdout.flush()
    print(f"{total} of {reference} passed; {worse} not expected; logs: {tree.parent / 'logs'}")
    return 0 if worse == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
