"""The process of Envoy: started, its service token kept fresh, drained before it is ended."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import httpx2

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.cli.envoy.clusters import secret
from tenantry.cli.envoy.configuration import configuration
from tenantry.cli.envoy.settings import Settings
from tenantry.cli.envoy.transcoding import descriptors
from tenantry.cli.envoy.upstream_tls import watched
from tenantry.cli.processes import end_with_parent
from tenantry.kit.access import EDGE
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import TenantryError
from tenantry.kit.private_file import write_private
from tenantry.kit.server import Registry, until_stopped
from tenantry.kit.settings import MeshSettings
from tenantry.kit.token_file import TokenFile

log = logging.getLogger(__name__)
_AGAIN_S = 1.0
_LOOK_EVERY_S = 0.1
_END_S = 5.0


async def run(settings: Settings, mesh: MeshSettings) -> int:
    """Runs Envoy until a signal, or until it ends by itself; its status then."""
    stopped = asyncio.create_task(until_stopped())
    await asyncio.to_thread(write_configuration, settings)
    async with contextlib.nullcontext() if settings.tls is not None else _token_kept_fresh(settings, mesh):
        return await _run(settings, mesh, stopped)


@contextlib.asynccontextmanager
async def _token_kept_fresh(settings: Settings, mesh: MeshSettings) -> AsyncGenerator[None]:
    """While the block runs, Envoy finds a valid service token where it watches for one."""
    clock = SystemClock()
    token = TokenFile(settings.token, clock)
    channels = Mesh(EDGE, mesh, Registry(), token.current, clock)
    stub = IdentityServiceStub(channels.channel("tenancy"))

    async def renew() -> str:
        renewed = (await stub.RenewServiceToken(identity_pb.RenewServiceTokenRequest())).token
        await write_identity(settings, renewed)
        return renewed

    await write_identity(settings, token.current())
    renewing = asyncio.create_task(_for_ever(partial(token.keep_fresh, renew)))
    try:
        yield
    finally:
        renewing.cancel()
        await channels.close()


async def _run(settings: Settings, mesh: MeshSettings, stopped: "asyncio.Task[None]") -> int:
    envoy = await _start(settings)
    ended = asyncio.create_task(envoy.wait())
    try:
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await _drain(settings, mesh.drain_s)
        return 0 if stopped.done() else envoy.returncode or 1
    finally:
        await _end(envoy)


def write_configuration(settings: Settings) -> None:
    """Writes what Envoy is started with."""
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(settings.descriptors, descriptors(), replace=True)
    for name, what in (watched(settings.tls) if settings.tls is not None else {}).items():
        write_private(settings.folder / f"{name}.yaml", json.dumps(what).encode(), replace=True)  # JSON is YAML
    write_private(settings.configuration, configuration(settings).encode(), replace=True)


async def write_identity(settings: Settings, token: str) -> None:
    """Puts the service token where Envoy watches for it."""
    text = json.dumps(secret(token))  # JSON is YAML
    await asyncio.to_thread(write_private, settings.identity, text.encode(), replace=True)


async def _start(settings: Settings) -> asyncio.subprocess.Process:
    # Without hot restart, whose shared memory two meshes on one machine would quarrel about.
    command = [settings.envoy, "-c", str(settings.configuration), "--disable-hot-restart", "--log-level", "warning"]
    more = ["--drain-strategy", "immediate", "--file-flush-interval-msec", "1000"]
    ends = partial(end_with_parent, os.getpid()) if sys.platform == "linux" else None
    return await asyncio.create_subprocess_exec(*command, *more, stdin=asyncio.subprocess.DEVNULL, preexec_fn=ends)


async def _drain(settings: Settings, within_s: float) -> None:
    """Tells clients to go elsewhere, and waits until their calls have ended, at most so long."""
    transport = httpx2.AsyncHTTPTransport(uds=str(settings.admin))
    async with httpx2.AsyncClient(transport=transport, base_url="http://envoy", timeout=1.0) as admin:
        with contextlib.suppress(httpx2.HTTPError, TimeoutError):
            await admin.post("/drain_listeners?graceful&skip_exit")
            async with asyncio.timeout(within_s):
                while await _running(admin):  # noqa: ASYNC110 - Envoy tells nobody when they have ended
                    await asyncio.sleep(_LOOK_EVERY_S)


async def _running(admin: httpx2.AsyncClient) -> int:
    """How many requests of clients are under way."""
    found = (await admin.get("/stats", params={"filter": r"^http\.(grpc|http)\.downstream_rq_active$"})).text
    return sum(int(line.rpartition(":")[2]) for line in found.splitlines())


async def _end(envoy: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        envoy.terminate()
        try:
            async with asyncio.timeout(_END_S):
                await envoy.wait()
        except TimeoutError:
            envoy.kill()
            await envoy.wait()


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except TenantryError as error:
            log.warning("the service token was not renewed: %s", error.message)
        await asyncio.sleep(_AGAIN_S)
