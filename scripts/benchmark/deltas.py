"""Delta backups: what it costs to take one and to restore a chain."""

import os
import shutil
import statistics

from benchmark.cluster import size_of
from benchmark.tools import Setup

# One page of a hundred, by a row each, which stays on its page.
CHANGE = """UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE ctid IN (
    SELECT format('(%s,1)', page)::tid FROM generate_series({first}, pg_relation_size('pgbench_accounts') / 8192 - 1, 100) page)"""


def measure_deltas(bench, s3, tools):
    print("| storage and codec | what | tool | wall ms | CPU ms | MB read | peak MiB | MB stored |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    for storage in [storage for storage in bench.options.storages if storage == "directory" or s3]:
        for codec in bench.options.codecs:
            for sealed in bench.options.sealed:
                setup = Setup(bench, storage, codec, sealed, s3)
                for tool in tools:
                    tool.prepare(bench, setup)
                    measure_tool(bench, setup, tool)


def measure_tool(bench, setup, tool):
    steps = {"WALG_DELTA_MAX_STEPS": "9"}

    def show(what, runs, stored):
        wall, cpu, read = (statistics.median(getattr(run, name) for run in runs) for name in ("wall", "cpu", "read_mb"))
        peak = max(run.peak_mib for run in runs)
        size = f"{stored / 1e6:,.2f}" if stored else ""
        print(
            f"| {setup.name} | {what} | {tool.name} | {wall * 1000:,.0f} | {cpu * 1000:,.0f} | {read:,.0f} | {peak:.0f} | {size} |",
            flush=True,
        )

    def push(what, flags=(), env=()):
        os.sync()
        before = size_of(setup.place(bench, tool))
        measured = bench.measure(*tool.backup_push(bench, flags, {**steps, **dict(env)}))
        show(what, [measured], size_of(setup.place(bench, tool)) - before)

    def change(step):
        bench.sql(CHANGE.format(first=step * 7), "checkpoint")

    push("full backup", ["--full"])
    full = tool.full_backup(bench, setup)
    change(1)
    for source in sources(bench, tool):
        # The last of them begins the chain.
        env = {"SEAWALL_DELTA_SOURCES": source} if source else {}
        push(f"delta, {source or 'its default'}", ["--delta-from-name", full], env)
    for step in (2, 3):
        change(step)
        push(f"delta {step} of the chain")
    for what, backup in (("restore of the full backup", full), ("restore with three deltas", "LATEST")):
        runs = []
        for _ in range(max(1, bench.options.runs // 2)):
            target = bench.make("restored")
            target.chmod(0o700)
            os.sync()
            runs.append(bench.measure(*tool.backup_fetch(bench, target, backup)))
            shutil.rmtree(target)
        show(what, runs, 0)


def sources(bench, tool):
    if tool.name != "seawall":
        return [None]
    return (["summaries"] if bench.major() >= 17 else []) + ["wal", "pages"]
