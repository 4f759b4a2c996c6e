"""Servers that a test run starts on loopback: a directory per server, a pid file per process.

A process is known by its pid and by the time the kernel says it started, so that a stop never meets
a stranger that got the same pid later. A server's directory holds:

    .seawall-testbed   what kind of server made this directory; wipe refuses a directory without it
    run/NAME.pid       "PID START_TIME", one per process
    run/env            the KEY=value lines that start printed
    log/NAME.log       what the process wrote
"""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

MARK = ".seawall-testbed"
STOP_SECONDS = 10


def fail(message):
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def free_ports(count):
    """Ports nobody listens on, below the range from which the kernel takes those of outgoing connections."""
    ports = []
    for _ in range(2000):
        port = random.randrange(15000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in ports:
                ports.append(port)
        if len(ports) == count:
            return ports
    fail(f"no {count} free ports between 15000 and 32000")


def start_time(pid):
    """The start time of a live process in clock ticks since boot, None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


class Server:
    """One server directory; `kind` is what wrote it."""

    def __init__(self, kind, directory):
        self.kind = kind
        self.dir = Path(directory).resolve()
        self.run = self.dir / "run"
        self.log = self.dir / "log"

    @contextlib.contextmanager
    def locked(self):
        """One start or stop at a time in this directory."""
        mark = self.dir / MARK
        if not mark.exists():
            if self.dir.exists() and any(self.dir.iterdir()):
                fail(f"{self.dir} is not empty and was not made by this script")
            self.dir.mkdir(parents=True, exist_ok=True)
            mark.write_text(self.kind + "\n")
        if mark.read_text().strip() != self.kind:
            fail(f"{self.dir} belongs to {mark.read_text().strip()}")
        self.run.mkdir(exist_ok=True)
        self.log.mkdir(exist_ok=True)
        with open(self.run / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def spawn(self, name, argv, env=None):
        with open(self.log / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                argv, env=env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        pid_file = self.run / f"{name}.pid"
        with open(pid_file, "w") as out:
            out.write(f"{child.pid} {start_time(child.pid)}\n")
            out.flush()
            os.fsync(out.fileno())

    def names(self):
        return sorted(path.stem for path in self.run.glob("*.pid"))

    def pid(self, name):
        """The pid of a process of ours that is alive, else None."""
        try:
            pid, started = (self.run / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_time(pid) == started else None

    def tail(self, name):
        path = self.log / f"{name}.log"
        return "".join(path.read_text(errors="replace").splitlines(keepends=True)[-15:]) if path.exists() else ""

    def wait_for(self, answers, seconds):
        """Waits until `answers()` holds; a process that dies meanwhile ends the wait with its last log lines."""
        deadline = time.monotonic() + seconds
        while not answers():
            for name in self.names():
                if self.pid(name) is None:
                    log = self.tail(name)
                    self.stop()
                    fail(f"{name} ended while starting; its log {self.log}/{name}.log ends:\n{log}")
            if time.monotonic() > deadline:
                self.stop()
                fail(f"no answer within {seconds} s, see {self.log}")
            time.sleep(0.1)

    def stop(self):
        """Asks every process to end, and ends its whole session by force if it has not after ten seconds."""
        alive = {name: pid for name in self.names() if (pid := self.pid(name))}
        for pid in alive.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(self.pid(name) for name in alive) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in alive.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # workers left in the session, or the process itself
        for name in self.names():
            (self.run / f"{name}.pid").unlink()
        (self.run / "env").unlink(missing_ok=True)

    def is_up(self, answers):
        names = self.names()
        return bool(names) and (self.run / "env").exists() and all(map(self.pid, names)) and answers()

    def publish(self, values):
        (self.run / "env").write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        self.print_env()

    def print_env(self):
        print((self.run / "env").read_text(), end="")

    def recorded(self, key):
        """A value that start printed, of a server that has one recorded."""
        try:
            lines = (self.run / "env").read_text().splitlines()
        except OSError:
            return None
        return dict(line.split("=", 1) for line in lines).get(key)

    def wipe(self):
        shutil.rmtree(self.dir)


def http_status(url):
    """The status of a GET, None when nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def main(server_class, usage):
    """start DIR [PORT] | status DIR | stop DIR | wipe DIR"""
    argv = sys.argv[1:]
    if len(argv) < 2 or argv[0] not in ("start", "status", "stop", "wipe") or len(argv) > (3 if argv[0] == "start" else 2):
        sys.exit(usage.strip())
    command, server = argv[0], server_class(argv[1])
    if command == "start":
        port = int(argv[2]) if len(argv) == 3 and argv[2].isdigit() else None
        if len(argv) == 3 and not port:
            fail(f"not a port: {argv[2]}")
        with server.locked():
            if server.is_up(server.answers):
                server.print_env()
            else:
                server.stop()
                server.start(port)
    elif not (server.dir / MARK).exists():
        # nothing was ever started here: stopped, but not up, and not ours to delete
        if command != "stop":
            fail(f"{server.dir} was not made by this script")
    else:
        with server.locked():
            if command == "status":
                if not server.is_up(server.answers):
                    fail(f"not running in {server.dir}")
                server.print_env()
            else:
                server.stop()
                if command == "wipe":
                    server.wipe()
