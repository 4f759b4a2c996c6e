"""The scratch cluster that everything is measured on, and how a process is measured."""

import glob
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def fail(message):
    sys.exit(f"scripts/bench: {message}")


def note(message):
    print(f"scripts/bench: {message}", file=sys.stderr, flush=True)


def size_of(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class Measured:
    """What the kernel says of one finished process and of those it waited for."""

    def __init__(self, wall, usage, read_bytes):
        self.wall = wall
        self.read_mb = read_bytes / 1e6
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak_mib = usage.ru_maxrss / 1024


class Failed(Exception):
    """A measured command did not do its work."""


class Bench:
    """A scratch cluster, its WAL segments and the storages."""

    def __init__(self, options):
        self.options = options
        self.user = self.unprivileged_user()
        self.scratch = Path(tempfile.mkdtemp(prefix="seawall-bench.", dir=options.scratch))
        self.scratch.chmod(0o755)
        self.bin = self.make("bin")
        self.run_dir = self.make("run")
        self.cluster = self.make("cluster")
        self.archived = self.make("archived")
        self.pg_bin = self.find_programs("initdb", "postgres", "pg_ctl")
        self.client_bin = self.find_programs("psql", "pgbench")
        self.gateway = None
        self.segments = []

    @staticmethod
    def unprivileged_user():
        """PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                pass
        fail("run this as another user than root")

    @staticmethod
    def find_programs(*names):
        """A directory with these programs of PostgreSQL."""
        versions = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
        on_path = shutil.which(names[0])
        for candidate in [os.environ.get("SEAWALL_BENCH_PG_BIN"), *versions[::-1], on_path and Path(on_path).parent]:
            if candidate and all(os.access(f"{candidate}/{name}", os.X_OK) for name in names):
                return Path(candidate)
        fail(f"no PostgreSQL with {', '.join(names)} found (Debian: postgresql)")

    def make(self, name):
        path = self.scratch / name
        path.mkdir()
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        return path

    def environment(self, more=()):
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.scratch / "run"),
            "LC_ALL": "C.UTF-8",
            "PGHOST": str(self.run_dir),
            "PGPORT": "5432",
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
            **dict(more),
        }

    def start(self, argv, env=(), **streams):
        identity = {}
        if self.user:
            groups = os.getgrouplist(self.user.pw_name, self.user.pw_gid)
            identity = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": groups}
        argv = [str(argument) for argument in argv]
        return subprocess.Popen(
            argv, env=self.environment(env), cwd=self.run_dir, stdin=subprocess.DEVNULL, **identity, **streams
        )

    def call(self, *argv, env=()):
        """Runs a command to its end; what it prints is shown only when it fails."""
        with open(self.scratch / "call.log", "w+b") as log:
            code = self.start(argv, env, stdout=log, stderr=log).wait()
            if code:
                log.seek(0)
                fail(f"{' '.join(map(str, argv))} ended with {code}:\n{log.read().decode(errors='replace')[-2000:]}")

    def measure(self, argv, env):
        with open(self.scratch / "measured.log", "w+b") as log:
            started = time.monotonic()
            process = self.start(argv, env, stdout=log, stderr=log)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            wall = time.monotonic() - started
            io = Path(f"/proc/{process.pid}/io")  # of a process that has ended, before it is waited for
            read_bytes = int(io.read_text().split()[1]) if os.access(io, os.R_OK) else 0
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                log.seek(0)
                text = log.read().decode(errors="replace")[-2000:]
                raise Failed(f"{' '.join(map(str, argv))} ended with {process.returncode}:\n{text}")
            return Measured(wall, usage, read_bytes)

    def measure_at_once(self, commands):
        """The wall time until the last of them has ended, and what was measured of each."""
        log = self.scratch / "measured.log"
        started = time.monotonic()
        with open(log, "wb") as output:
            processes = [self.start(argv, env, stdout=output, stderr=output) for argv, env in commands]
        runs = []
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            runs.append(Measured(time.monotonic() - started, usage, 0))
        if any(process.returncode for process in processes):
            raise Failed(f"{commands[0][0][0]}, one of {len(commands)}:\n{log.read_text(errors='replace')[-2000:]}")
        return max(run.wall for run in runs), runs

    def start_cluster(self):
        """A cluster with pgbench's tables, and the WAL of making and of changing them."""
        note(f"making a pgbench cluster of scale {self.options.scale} in {self.scratch}")
        self.call(self.pg_bin / "initdb", "-D", self.cluster, "-U", "postgres", "-A", "trust", "--data-checksums")
        with open(self.cluster / "postgresql.conf", "a") as conf:
            conf.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.run_dir}'\nshared_buffers = 256MB\n"
                f"max_wal_size = 4GB\nwal_keep_size = 4GB\ncheckpoint_timeout = 1h\narchive_mode = on\n"
                f"archive_command = 'cp %p {self.archived}/%f'\n"
            )
            if self.major() >= 17:
                conf.write("summarize_wal = on\n")
        self.pg_ctl("start", "-l", self.run_dir / "postgres.log")
        # Room in each page, so that a changed row stays on its page.
        fill = ["-F", "90"] if "delta" in self.options.only else []
        self.call(self.client_bin / "pgbench", "-q", "-i", "-s", self.options.scale, *fill)
        # Deltas need no WAL to push, and change the tables themselves.
        transactions = 1000 if self.options.only == ["delta"] else max(1000, 800 * self.options.scale)
        self.call(self.client_bin / "pgbench", "-n", "-c", "4", "-j", "2", "-t", transactions)
        self.call(self.client_bin / "psql", "-qXc", "checkpoint", "-c", "select pg_switch_wal()")
        deadline = time.monotonic() + 60
        while any((self.cluster / "pg_wal/archive_status").glob("*.ready")) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.shelve_segments()

    def shelve_segments(self):
        """Puts segments where tools find beside them what they look at in a data directory, and nothing changes."""
        archived = sorted(path for path in self.archived.iterdir() if len(path.name) == 24)
        if len(archived) < 2:
            fail("the cluster has written too little WAL; give a larger --scale")
        for directory in ("shelf", "shelf/global", "shelf/pg_wal", "shelf/pg_wal/archive_status"):
            self.make(directory)
        for name in ("global/pg_control", "PG_VERSION"):
            self.copy(self.cluster / name, self.scratch / "shelf" / name)
        # The last one is mostly empty.
        wanted = max(self.options.runs, 8) if "barman" in self.options.only else self.options.runs
        for segment in archived[:-1][-wanted:]:
            self.copy(segment, self.scratch / "shelf/pg_wal" / segment.name)
            self.segments.append(self.scratch / "shelf/pg_wal" / segment.name)

    def copy(self, source, destination):
        shutil.copy(source, destination)
        if self.user:
            os.chown(destination, self.user.pw_uid, self.user.pw_gid)

    def major(self):
        text = subprocess.run([self.pg_bin / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        return int(text.split()[2].split(".")[0])

    def sql(self, *statements):
        self.call(self.client_bin / "psql", "-qXAt", *(part for text in statements for part in ("-c", text)))

    def pg_ctl(self, action, *more):
        self.call(self.pg_bin / "pg_ctl", action, "-s", "-w", "-t", "120", "-D", self.cluster, *more)

    def start_s3(self):
        script = PROJECT / "scripts/testbed/versitygw"
        started = subprocess.run([script, "start", self.scratch / "s3"], stdout=subprocess.PIPE, text=True)
        if started.returncode:
            return None
        self.gateway = script
        (self.scratch / "s3/data/bench").mkdir()
        return dict(line.split("=", 1) for line in started.stdout.split())

    def clean_up(self):
        if (self.cluster / "postmaster.pid").exists():
            self.pg_ctl("stop", "-m", "immediate")
        if self.gateway:
            subprocess.run([self.gateway, "stop", self.scratch / "s3"], check=False)
        shutil.rmtree(self.scratch, ignore_errors=True)
