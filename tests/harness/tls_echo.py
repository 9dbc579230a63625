"""Echo services of a mesh with TLS, as a process hosts them: real listeners, real certificates, real proofs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tenantry.kit.caller import identity
from tenantry.kit.channel import Mesh
from tenantry.kit.host import Hosted
from tenantry.kit.server import Room
from tests.harness.echo import Acts, Echo
from tests.harness.protos import echo_pb2 as pb
from tests.harness.protos import echo_pb2_grpc
from tests.harness.room import Served, served
from tests.harness.tls import Certificates

SERVICE = "/tenantry.api.echo.v1.EchoService/"


async def who(request: Any, context: Any) -> Any:
    """Answers with the service that called."""
    return pb.EchoResponse(text=identity() or "nobody")


@asynccontextmanager
async def echoing(
    state: Path, certificates: Certificates, acts: Acts | None = None, lobby: Callable[[Mesh], Any] | None = None
) -> AsyncIterator[Served]:
    """The service `echo`, and beside it in the same process `lobby`, which is given its mesh."""

    @asynccontextmanager
    async def build_echo(_: Any, mesh: Mesh) -> AsyncIterator[Room]:
        yield Room("echo", [(echo_pb2_grpc.add_EchoServiceServicer_to_server, Echo(acts or Acts(who)))])

    @asynccontextmanager
    async def build_lobby(_: Any, mesh: Mesh) -> AsyncIterator[Room]:
        if lobby is not None:
            lobby(mesh)
        yield Room("lobby", [])

    rooms = (Hosted("echo", build_echo, None), Hosted("lobby", build_lobby, None))
    async with served(*rooms, state=state, kind="network", tls=certificates.folder) as running:
        yield running
