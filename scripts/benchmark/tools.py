"""The programs that are measured, each with its settings for a storage, a codec and a cipher."""

import os
import shutil
import subprocess
from pathlib import Path

from benchmark.cluster import PROJECT, fail

KEY = "6b" * 32
LEVELS = {"lz4": "1", "zstd": "3"}  # of the tools whose level is a number; wal-g's for zstd is zstd's 3


class Setup:
    """One way to store: a codec, with or without a cipher, in one of the storages."""

    def __init__(self, bench, storage, codec, sealed, s3):
        self.storage, self.codec, self.sealed, self.s3 = storage, codec, sealed, s3
        self.uploads = bench.options.uploads
        self.name = f"{storage}, {codec}" + (", libsodium" if sealed else "")

    def place(self, bench, tool):
        """Where a tool's objects are in this storage."""
        return bench.scratch / (tool.name if self.storage == "directory" else f"s3/data/bench/{tool.name}")

    def repository(self, bench, tool):
        """That place, new and empty."""
        path = self.place(bench, tool)
        shutil.rmtree(path, ignore_errors=True)
        if self.storage == "directory":
            bench.make(tool.name)
        return path


class WalG:
    """wal-g, and what takes its settings."""

    def __init__(self, name, program):
        self.name, self.program = name, program

    def can(self, setup):
        return True

    def prepare(self, bench, setup):
        path = setup.repository(bench, self)
        env = {"WALG_COMPRESSION_METHOD": setup.codec, "WALG_DOWNLOAD_CONCURRENCY": "1"}
        # The cluster archives past the tools, so nobody waits for its WAL.
        env["SEAWALL_BACKUP_WAL_TIMEOUT"] = "0"
        if setup.storage == "directory":
            env["WALG_FILE_PREFIX"] = str(path)
        else:
            env |= {
                "WALG_S3_PREFIX": f"s3://bench/{self.name}",
                "AWS_ENDPOINT": setup.s3["S3_ENDPOINT"],
                "AWS_S3_FORCE_PATH_STYLE": "true",
                **{name: setup.s3[name] for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
            }
        if setup.sealed:
            env |= {"WALG_LIBSODIUM_KEY": KEY, "WALG_LIBSODIUM_KEY_TRANSFORM": "hex"}
        if setup.uploads:
            env["WALG_UPLOAD_CONCURRENCY"] = str(setup.uploads)
        self.env = env

    def wal_push(self, bench, segment):
        return [self.program, "wal-push", segment], self.env

    def wal_fetch(self, bench, segment, destination):
        return [self.program, "wal-fetch", segment.name, destination], self.env

    def backup_push(self, bench, flags=(), env=()):
        return [self.program, "backup-push", bench.cluster, *flags], {**self.env, **dict(env)}

    def backup_fetch(self, bench, target, backup="LATEST"):
        # its default is a restore of ten tars at once
        env = {key: value for key, value in self.env.items() if key != "WALG_DOWNLOAD_CONCURRENCY"}
        return [self.program, "backup-fetch", target, backup], env

    def full_backup(self, bench, setup):
        """The name of the only full backup."""
        end = "_backup_stop_sentinel.json"
        sentinels = setup.place(bench, self).glob(f"basebackups_005/*{end}")
        (name,) = (path.name.removesuffix(end) for path in sentinels if "_D_" not in path.name)
        return name


class PgBackRest:
    """pgBackRest, with a process for each core and its bundles of small files."""

    name = "pgbackrest"

    def __init__(self, program):
        self.program = program

    def can(self, setup):
        return setup.storage == "directory" and not setup.sealed and setup.codec in ("lz4", "zstd", "none")

    def prepare(self, bench, setup):
        path = setup.repository(bench, self)
        (bench.run_dir / "lock").mkdir(exist_ok=True)
        if bench.user:
            os.chown(bench.run_dir / "lock", bench.user.pw_uid, bench.user.pw_gid)
        config = bench.scratch / "pgbackrest.conf"
        codec = {"zstd": "zst"}.get(setup.codec, setup.codec)
        level = f"compress-level={LEVELS[setup.codec]}\n" if setup.codec in LEVELS else ""
        config.write_text(
            f"[global]\nrepo1-path={path}\nrepo1-bundle=y\ncompress-type={codec}\n{level}"
            f"process-max={len(os.sched_getaffinity(0))}\nstart-fast=y\nlock-path={bench.run_dir}/lock\n"
            f"log-level-file=off\nlog-level-console=warn\nspool-path={bench.run_dir}\n"
            f"[main]\npg1-path={bench.cluster}\npg1-socket-path={bench.run_dir}\npg1-user=postgres\n"
        )
        self.command = [self.program, f"--config={config}", "--stanza=main"]
        bench.call(*self.command, "stanza-create")

    def wal_push(self, bench, segment):
        return [*self.command, "archive-push", segment], {}

    def wal_fetch(self, bench, segment, destination):
        return [*self.command, "archive-get", segment.name, destination], {}

    def backup_push(self, bench):
        return [*self.command, "--type=full", "--no-archive-check", "backup"], {}

    def backup_fetch(self, bench, target):
        return [*self.command, f"--pg1-path={target}", "restore"], {}


class Barman:
    """barman-cloud-*, which have no other storage than S3's like."""

    def __init__(self, name, directory):
        self.name, self.directory = name, Path(directory)

    def can(self, setup):
        return setup.storage == "s3" and not setup.sealed and setup.codec in ("lz4", "none")

    def prepare(self, bench, setup):
        setup.repository(bench, self)
        self.env = {
            "AWS_DEFAULT_REGION": setup.s3["AWS_REGION"],
            **{name: setup.s3[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
        }
        self.store = ["--endpoint-url", setup.s3["S3_ENDPOINT"]]
        self.codec = [] if setup.codec == "none" else [f"--{setup.codec}"]
        self.place = [f"s3://bench/{self.name}", "main"]

    def wal_push(self, bench, segment):
        return [self.directory / "barman-cloud-wal-archive", *self.store, *self.codec, *self.place, segment], self.env

    def wal_fetch(self, bench, segment, destination):
        program = self.directory / "barman-cloud-wal-restore"
        return [program, *self.store, *self.place, segment.name, destination], self.env

    def backup_push(self, bench, flags=()):
        program = self.directory / "barman-cloud-backup"
        return [program, "--immediate-checkpoint", *flags, *self.codec, *self.store, *self.place], self.env

    def backup_fetch(self, bench, target):
        program = self.directory / "barman-cloud-restore"
        return [program, *self.store, *self.place, "last", target], self.env


def copy_of_seawall(bench):
    """The program, where the unprivileged user reaches it."""
    seawall = os.environ.get("SEAWALL_BIN") or f"{os.environ.get('CARGO_TARGET_DIR', PROJECT / 'target')}/release/seawall"
    if not os.access(seawall, os.X_OK):
        fail(f"no {seawall}; build it: cargo build --release --locked")
    return shutil.copy(seawall, bench.bin / "seawall")


def find_barman(bench):
    """seawall by barman-cloud's names, and barman-cloud from PyPI."""
    links = bench.make("links")
    program = copy_of_seawall(bench)
    for command in ("wal-archive", "wal-restore", "backup", "restore"):
        (links / f"barman-cloud-{command}").symlink_to(program)
    install = [PROJECT / "scripts/testbed/install", "barman"]
    installed = subprocess.run(install, stdout=subprocess.PIPE, text=True, check=False).stdout
    directories = [line.split("=", 1)[1] for line in installed.split("\n") if line.startswith("SEAWALL_TEST_BARMAN=")]
    return [Barman("seawall", links)] + [Barman("barman-cloud", directory) for directory in directories]


def find_tools(bench):
    tools = [WalG("seawall", copy_of_seawall(bench))]
    # the unprivileged user may not reach where they are
    for name in ("wal-g", "walrus"):
        if program := shutil.which(name):
            tools.append(WalG(name, shutil.copy(program, bench.bin / name)))
    if program := shutil.which("pgbackrest"):
        tools.append(PgBackRest(program))
    if program := shutil.which("barman-cloud-wal-archive"):
        tools.append(Barman("barman-cloud", Path(program).parent))
    return tools
