"""`tenantry up`: a whole mesh on this machine, until Ctrl-C."""

import asyncio
import fcntl
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from tenantry.cli import demo, processes, settings
from tenantry.cli.connection import fail
from tenantry.cli.output import console, is_terminal, note
from tenantry.cli.processes import Processes, StartFailed
from tenantry.kit import settings as mesh
from tenantry.kit.errors import TenantryError

Topology = Literal["cohosted", "mesh"]
_READY_S = 90.0
_WATCH_EVERY_S = 0.2


class _Stopped(Exception):
    """SIGTERM or Ctrl-C."""


def up(topology: Topology, workers: int, *, with_demo: bool) -> None:
    """Starts everything, shows the demo if asked, and serves until a signal or until a process ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    state = mesh.state_directory()
    started = time.monotonic()
    with _only_one(state):
        running = Processes(state / "logs")
        try:
            initialise()
            _start(running, state, topology, workers)
            seconds = f"{time.monotonic() - started:.1f}"
            note(address=settings.address(), topology=topology, ready_after_s=seconds, logs=str(running.logs))
            if with_demo:
                demo.show(settings.address(), started)
            if is_terminal():
                console.print("\nServing until Ctrl-C.")
            while True:
                running.check()
                time.sleep(_WATCH_EVERY_S)
        except _Stopped:
            if is_terminal():
                console.print("\nEnding every process.")
        except StartFailed as error:
            fail(str(error), "read the log, then start again")
        finally:
            running.stop()


def initialise() -> str | None:
    """Makes what is missing: secrets, tables, tokens. The first operator's key, when it was made now."""
    from tenantry.tenancy.initialise import initialise as initialise_tenancy
    from tenantry.tenancy.settings import from_environment

    try:
        return asyncio.run(initialise_tenancy(from_environment())).operator_secret
    except TenantryError as error:
        return fail(error.message, "then try again")


def _start(running: Processes, state: Path, topology: Topology, workers: int) -> None:
    stores = {"books": (mesh.books_url(), processes.BOOKS), "cache": (mesh.cache_url(), processes.CACHE)}
    for name, (url, options) in stores.items():
        if processes.is_local(url):
            processes.start_valkey(running, name, url, state / "valkey" / name, options)
    for url, _ in stores.values():
        processes.wait_for_port(running, url, _READY_S)
    settings_of_first = mesh.mesh_settings(mesh.SERVICES[0])
    addresses = dict(settings_of_first.addresses)
    if topology == "mesh":
        for name in mesh.SERVICES:
            running.start(name, [settings.python(), "-m", f"tenantry.{name}"], TENANTRY_LISTEN=addresses[name])
    else:
        listen = settings_of_first.listen
        command = [settings.python(), "-m", "tenantry.cli", "serve", *mesh.SERVICES]
        shared = "1" if workers > 1 else ""
        for number in range(1, workers + 1):
            name = "tenantry" if workers == 1 else f"worker-{number}"
            running.start(name, command, TENANTRY_LISTEN=listen, TENANTRY_SHARED_PORT=shared)
            # The first worker brings the tables to this version; the others find them so.
            if number == 1:
                processes.wait_healthy(running, {"tenantry": listen}, _READY_S)
        addresses = {"tenantry": listen}
    processes.wait_healthy(running, {**addresses, "gateway's edge": settings.address()}, _READY_S)


@contextmanager
def _only_one(state: Path) -> Generator[None]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"a mesh with the state directory {state} is running already", "use it, or end it first")
        yield


def _stop(number: int, frame: FrameType | None) -> None:
    # Once: a second Ctrl-C must not break off the ending of the processes.
    for again in (signal.SIGTERM, signal.SIGINT):
        signal.signal(again, signal.SIG_IGN)
    raise _Stopped
