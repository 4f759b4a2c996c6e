"""barman-cloud's commands, its own and seawall's: one segment by each codec, eight segments at once, a backup and its restore."""

import os
import shutil
import statistics
import subprocess

from benchmark.cluster import Failed, fail, note, size_of
from benchmark.tools import Setup, find_barman

WAL_CODECS = ("none", "gzip", "bzip2", "snappy", "lz4", "xz", "zstd")
AT_ONCE = 8  # CloudNativePG's wal.maxParallel in the users' clusters
JOBS = 2

# What a service takes for a segment by itself: puts by boto3, in a process that has started and connected before.
PUTS = """
import boto3, os, statistics, sys, time
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
walls = []
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        body = file.read()
    for key in ("warm", "alone/" + os.path.basename(path)):
        started = time.monotonic()
        s3.put_object(Bucket="bench", Key=key, Body=body)
        wall = time.monotonic() - started
    walls.append(wall)
print(round(statistics.median(walls) * 1000))
"""


def measure_barman(bench, s3):
    tools = find_barman(bench)
    print("wal-archive of one segment, medians:\n")
    print("| codec | tool | wall ms | CPU ms | peak MiB | stored MB | runs |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    for codec in WAL_CODECS:
        archive(bench, s3, codec, tools)
    for tool in tools:
        attempt(lambda: puts_alone(bench, s3, tool))
    print(f"\n{AT_ONCE} processes of wal-restore at once:\n")
    print("| codec | tool | wall ms | CPU ms of all | peak MiB of the largest | peak MiB of all |")
    print("|---|---|---:|---:|---:|---:|", flush=True)
    for codec in ("none", "bzip2", "zstd"):
        for tool in tools:
            attempt(lambda: restore_at_once(bench, s3, codec, tool))
    print(f"\nBackup with bzip2 and {JOBS} jobs, and its restore; MB are those of the data directory:\n")
    print("| operation | tool | wall ms | MB/s | CPU ms | CPU/wall | peak MiB | stored MB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for tool in tools:
        attempt(lambda: backup_and_restore(bench, s3, tool))


def attempt(measure):
    """Whether it could be measured."""
    try:
        measure()
        return True
    except Failed as failure:
        note(f"left out: {failure}")
        return False


def prepared(bench, s3, codec, tool):
    setup = Setup(bench, "s3", codec, False, s3)
    tool.prepare(bench, setup)
    return setup


def archive(bench, s3, codec, tools):
    runs = {tool.name: [] for tool in tools}
    for tool in tools:
        setup = prepared(bench, s3, codec, tool)
    segments = bench.segments[: bench.options.runs]
    for segment in segments:
        for tool in tools:
            add = lambda: runs[tool.name].append(bench.measure(*tool.wal_push(bench, segment)))
            if not attempt(add):
                tools = [other for other in tools if other is not tool]
    for tool in tools:
        wall, cpu = (statistics.median(getattr(run, name) for run in runs[tool.name]) for name in ("wall", "cpu"))
        peak = max(run.peak_mib for run in runs[tool.name])
        stored = size_of(setup.place(bench, tool)) / len(segments) / 1e6
        print(
            f"| {codec} | {tool.name} | {wall * 1000:,.0f} | {cpu * 1000:,.0f} | {peak:.0f} | {stored:.2f} | {len(segments)} |",
            flush=True,
        )


def puts_alone(bench, s3, tool):
    """How long the service takes for a segment as it is, where the tool comes with boto3."""
    python = tool.directory / "python3"
    if not python.exists():
        return
    setup = prepared(bench, s3, "none", tool)
    command = [python, "-c", PUTS, s3["S3_ENDPOINT"], *bench.segments[: bench.options.runs]]
    process = bench.start(command, tool.env, stdout=subprocess.PIPE, text=True)
    median = process.communicate()[0].strip()
    if process.returncode:
        raise Failed("boto3 could not put segments")
    print(f"\nA put of a segment as it is, by boto3 in a process that runs already: {median} ms.")
    shutil.rmtree(setup.place(bench, tool), ignore_errors=True)


def restore_at_once(bench, s3, codec, tool):
    prepared(bench, s3, codec, tool)
    segments = bench.segments[:AT_ONCE]
    for segment in segments:
        bench.measure(*tool.wal_push(bench, segment))
    shutil.rmtree(bench.scratch / "restored", ignore_errors=True)  # of one that failed
    target = bench.make("restored")
    wall, runs = bench.measure_at_once([tool.wal_fetch(bench, segment, target / segment.name) for segment in segments])
    for segment in segments:
        if (target / segment.name).read_bytes() != segment.read_bytes():
            fail(f"{tool.name} restored another {segment.name} than it was given")
    peaks = [run.peak_mib for run in runs]
    cpu = sum(run.cpu for run in runs)
    print(f"| {codec} | {tool.name} | {wall * 1000:,.0f} | {cpu * 1000:,.0f} | {max(peaks):.0f} | {sum(peaks):.0f} |", flush=True)


def backup_and_restore(bench, s3, tool):
    setup = prepared(bench, s3, "bzip2", tool)
    megabytes = (size_of(bench.cluster) - size_of(bench.cluster / "pg_wal")) / 1e6

    def show(operation, run, stored):
        print(
            f"| {operation} | {tool.name} | {run.wall * 1000:,.0f} | {megabytes / run.wall:,.1f} | {run.cpu * 1000:,.0f} "
            f"| {run.cpu / run.wall:.2f} | {run.peak_mib:.0f} | {stored} |",
            flush=True,
        )

    os.sync()
    run = bench.measure(*tool.backup_push(bench, ["--jobs", JOBS]))
    show("backup", run, f"{size_of(setup.place(bench, tool)) / 1e6:,.1f}")
    shutil.rmtree(bench.scratch / "restored", ignore_errors=True)  # of one that failed
    target = bench.make("restored")
    target.chmod(0o700)
    os.sync()
    run = bench.measure(*tool.backup_fetch(bench, target))
    show("restore", run, "")
