"""How much memory a whole mesh takes, its two valkeys counted: proportional set size, so shared pages count once.

Idle is before the first request, under load the most that was seen while 32 callers asked. The built-in model answers; a
last figure is after the first call through the openai SDK, which is imported then.
"""

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.bench.asking import Asked, asked_mesh, provider_process
from tests.bench.load import client, closed_loop, ready
from tests.bench.report import FULL, Report
from tests.harness.mesh import RunningMesh, Topology

GOALS_MB: dict[Topology, float] = {"cohosted": 200.0, "processes": 600.0}
AT_ONCE = 32


def pss_mb(pid: int) -> float:
    """Of one process, in MB (10^6)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib * 1024 / 1e6


def sizes(mesh: RunningMesh) -> dict[str, float]:
    """Of each process, by its name."""
    pids = {name: process.pid for name, process in mesh.processes.items()}
    for name, store in (("valkey, books", mesh.books), ("valkey, cache", mesh.cache)):
        assert store is not None and store._process is not None
        pids[name] = store._process.pid
    return {name: pss_mb(pid) for name, pid in pids.items()}


async def _loaded(mesh: RunningMesh, key: str, seconds: float, most_calls: int) -> tuple[dict[str, float], float]:
    """The sizes at the moment when their sum was largest, and the sum after the SDK was used."""
    channel = client(mesh.edge)
    await ready(channel)
    asked = Asked(mesh, key, channel)
    most: dict[str, float] = {}

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, await asyncio.to_thread(sizes, mesh), key=lambda one: sum(one.values()))
            await asyncio.sleep(0.25)

    watching = asyncio.create_task(watch())
    await closed_loop(asked.extractive, AT_ONCE, seconds, most_calls)
    most = max(most, sizes(mesh), key=lambda one: sum(one.values()))
    watching.cancel()
    await closed_loop(asked.sdk, AT_ONCE, seconds / 2, most_calls)
    with_sdk = sum(sizes(mesh).values())
    await channel.close()
    return most, with_sdk


def run(
    *,
    topologies: tuple[Topology, ...] = ("cohosted", "processes"),
    seconds: float = 20.0 if FULL else 5.0,
    most_calls: int = 1_000_000,
) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(("process", "mesh", "idle", "under load", "goal"))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(provider_process())
        for topology in topologies:
            with asked_mesh(topology, directory / topology, 0.01, provider) as (mesh, key):
                idle = sizes(mesh)
                loaded, with_sdk = uvloop.run(_loaded(mesh, key, seconds, most_calls))
            _report(topology, idle, loaded, with_sdk, report)
    return report


def _report(
    topology: Topology, idle: dict[str, float], loaded: dict[str, float], with_sdk: float, report: Report
) -> None:
    goal = GOALS_MB[topology]
    for name, before in idle.items():
        report.row(name, topology, f"{before:.0f} MB", f"{loaded[name]:.0f} MB", "")
    before, after = sum(idle.values()), sum(loaded.values())
    report.row("all", topology, f"{before:.0f} MB", f"{after:.0f} MB", f"≤ {goal:g} MB")
    report.row("all, with the openai SDK", topology, "", f"{with_sdk:.0f} MB", "stated")
    prefix = "cohosted" if topology == "cohosted" else "eight"
    report.figure(f"{prefix}_idle_mb", before, 1)
    report.figure(f"{prefix}_loaded_mb", after, 1)
    report.figure(f"{prefix}_with_sdk_mb", with_sdk, 1)
    report.figure(f"{prefix}_loaded_over_idle", after / before)
    report.goal(f"{topology} ≤ {goal:g} MB, under load too", max(before, after) <= goal)
