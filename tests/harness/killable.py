"""A replica of quota in a process of its own, so that a test may kill it."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenantry.kit.clock import SystemClock
from tenantry.kit.host import Host, Hosted, spare_the_collector
from tenantry.kit.server import Registry
from tenantry.quota import server
from tenantry.quota.settings import Settings
from tests.harness.room import Served, served

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["__main__", "tests.harness.imported"])
STARTS_WITHIN_S = 30.0


class Killable:
    """The replica, and the means to call it from here."""

    def __init__(self, settings: Settings, state: Path, skew_s: float = 0.0) -> None:
        """`skew_s`: how far its clock is before the machine's."""
        ours, theirs = _SERVER.Pipe()
        self._process = _SERVER.Process(target=_run, args=(settings, state, theirs, skew_s), daemon=True)
        self._process.start()
        theirs.close()
        with ours:
            if not ours.poll(STARTS_WITHIN_S):
                self.kill()
                raise RuntimeError("the replica did not start")
            try:
                address, key = ours.recv()
            except EOFError:
                raise RuntimeError("the replica ended as it started") from None
        host = Host(address, "", Registry())
        self.served = Served(host, Ed25519PrivateKey.from_private_bytes(key), "network", ["quota"])

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()


@contextmanager
def killable(settings: Settings, state: Path) -> Iterator[Killable]:
    """A replica that serves until it is killed, or the block ends."""
    replica = Killable(settings, state)
    try:
        yield replica
    finally:
        replica.kill()


def _run(settings: Settings, state: Path, ready: Connection, skew_s: float) -> None:
    now_ns = time.time_ns
    SystemClock.now = lambda self: time.time() + skew_s  # the one thing that is faked
    SystemClock.now_ns = lambda self: now_ns() + int(skew_s * 1e9)
    uvloop.run(_serve(settings, state, ready))


async def _serve(settings: Settings, state: Path, ready: Connection) -> None:
    async with served(Hosted("quota", server.build, settings), state=state, kind="network") as room:
        spare_the_collector()
        ready.send((room.host.mesh, room.key.private_bytes_raw()))
        await asyncio.Event().wait()
