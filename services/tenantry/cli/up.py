"""`tenantry up`: a whole mesh on this machine, until Ctrl-C; and `tenantry init`, what it needs before its first start."""

import asyncio
import fcntl
import signal
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from tenantry.cli import processes, settings
from tenantry.cli.output import console, is_terminal, note
from tenantry.cli.processes import Processes, StartFailed, Stopped
from tenantry.cli.refusals import fail
from tenantry.kit import settings as mesh
from tenantry.kit.access import EDGE

_READY_S = 90.0
_WATCH_EVERY_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Set by the first signal.
_stopping = threading.Event()


class Topology(StrEnum):
    """How services are spread over processes."""

    cohosted = "cohosted"
    mesh = "mesh"


def init() -> None:
    """Make secrets, tables, service tokens and the first operator's key. Doing so again renews the tokens alone."""
    made = _initialise()
    state = "made now" if made else "was there"
    note(operator_key=state, file=str(mesh.secret_file("operator.key")), state=str(mesh.state_directory()))


def up(
    demo: Annotated[bool, typer.Option("--demo", help="Onboard two demo tenants and ask each a question.")] = False,
    topology: Annotated[Topology, typer.Option(help="One process, or eight.")] = Topology.cohosted,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of a cohosted mesh.")] = 1,
    edge: Annotated[bool, typer.Option("--edge", help="Envoy at the address for clients.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Mutual TLS inside the mesh; makes a development CA.")] = False,
) -> None:
    """Run a whole mesh on this machine until Ctrl-C."""
    if workers > 1 and topology is Topology.mesh:
        raise typer.BadParameter("--workers is for the cohosted topology")
    state = mesh.state_directory()
    started = time.monotonic()
    running = Processes(state / "logs", _stopping)
    try:
        for number in _SIGNALS:
            signal.signal(number, _stop)
        with _only_one(state):
            try:
                if tls:
                    _secure()
                with _signals_later():
                    _start(running, state, topology, workers, edge=edge)
                seconds = f"{time.monotonic() - started:.1f}"
                note(address=settings.local_address(), topology=topology, ready_after_s=seconds, logs=str(running.logs))
                if demo:
                    from tenantry.cli.demo import show

                    show(settings.local_address(), started)
                _serve(running)
            finally:
                _ignore_signals()
                running.stop()
    except Stopped:
        pass
    except StartFailed as error:
        fail(str(error), "correct that, then start again")


def _secure() -> None:
    from tenantry.cli.certificates import issue

    settings.turn_tls_on()
    issue(settings.tls_folder())


def _initialise() -> str | None:
    """Makes what is missing: secrets, tables, tokens. The first operator's key, when it was made now."""
    from tenantry.tenancy.initialise import initialise
    from tenantry.tenancy.settings import from_environment

    return asyncio.run(initialise(from_environment())).operator_secret


def _start(running: Processes, state: Path, topology: Topology, workers: int, *, edge: bool) -> None:
    first = mesh.mesh_settings(mesh.SERVICES[0])
    services = dict(first.addresses) if topology is Topology.mesh else {"tenantry": first.listen}
    clients = {EDGE if edge else "gateway's edge": settings.local_address()}
    addresses = {**services, **clients}
    for name, address in addresses.items():
        processes.require_free(name, address)
    stores = {"books": (mesh.books_url(), processes.BOOKS), "cache": (mesh.cache_url(), processes.CACHE)}
    for name, (url, options) in stores.items():
        if processes.is_ours(url) and not (settings.names_redis(name) and processes.listens_at(url)):
            processes.start_valkey(running, name, url, state / "valkey" / name, options)
    _initialise()
    for url, _ in stores.values():
        processes.wait_for_port(running, url, _READY_S)
    # The services then have no edge of their own.
    no_edge = {"TENANTRY_EDGE_LISTEN": ""} if edge else {}
    if topology is Topology.mesh:
        for name, address in services.items():
            running.start(name, [settings.python(), "-m", f"tenantry.{name}"], TENANTRY_LISTEN=address, **no_edge)
    else:
        _start_workers(running, workers, first.listen, no_edge)
    if edge:
        processes.wait_healthy(running, services, _READY_S)
        at = {f"TENANTRY_{name.upper()}_ADDRESS": services.get(name, first.listen) for name in mesh.SERVICES}
        running.start(EDGE, [settings.python(), "-m", "tenantry.cli", "edge"], **at)
    processes.wait_healthy(running, addresses, _READY_S)


def _start_workers(running: Processes, workers: int, listen: str, environment: Mapping[str, str]) -> None:
    command = [settings.python(), "-m", "tenantry.cli", "serve", *mesh.SERVICES]
    shared = "1" if workers > 1 else ""
    for number in range(1, workers + 1):
        name = "tenantry" if workers == 1 else f"worker-{number}"
        # Each worker is a replica of quota: while the books are away they share the limits.
        own = {"TENANTRY_LISTEN": listen, "TENANTRY_SHARED_PORT": shared, "TENANTRY_QUOTA_REPLICAS": str(workers)}
        running.start(name, command, **own, **environment)
        # The first worker brings the tables to this version; the others find them so.
        if number == 1:
            processes.wait_healthy(running, {name: listen}, _READY_S)


def _serve(running: Processes) -> None:
    if is_terminal():
        console.print("\nServing until Ctrl-C.")
    try:
        while True:
            running.check()
            time.sleep(_WATCH_EVERY_S)
    except Stopped:
        if is_terminal():
            console.print("\nEnding every process.")


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
    _remember(number, frame)
    raise Stopped


def _remember(number: int, frame: FrameType | None) -> None:
    # Once: a second Ctrl-C must not break off the ending of the processes.
    _ignore_signals()
    _stopping.set()


@contextmanager
def _signals_later() -> Generator[None]:
    """Lets a signal wait until the running processes are looked at, or the block ends: what a handler raises in the midst
    of a loop, a fork or a callback can be swallowed, or leave a thread that nobody ends."""
    for number in _SIGNALS:
        signal.signal(number, _remember)
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, _stop)
    if _stopping.is_set():
        _ignore_signals()
        raise Stopped


def _ignore_signals() -> None:
    # Not SIG_IGN: a process started after that would inherit it, and not end when it is told to.
    for number in _SIGNALS:
        signal.signal(number, _nothing)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
