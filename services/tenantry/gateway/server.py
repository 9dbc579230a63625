"""Wires the gateway: its peers over the mesh and its service."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tenantry.api.gateway.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from tenantry.gateway import output_schema
from tenantry.gateway.answering import Answering
from tenantry.gateway.peers_mesh import MeshPeers
from tenantry.gateway.service import GatewayService
from tenantry.gateway.settings import Settings
from tenantry.gateway.tokens import Tokens
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.server import Room


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs."""
    answering = Answering(MeshPeers(mesh), settings, SystemClock(), _tokens(settings))
    try:
        yield Room(
            "gateway",
            [(add_GatewayServiceServicer_to_server, GatewayService(answering))],
            afterwards=answering.drain,
        )
    finally:
        await output_schema.close()


def _tokens(settings: Settings) -> Tokens:
    if settings.tokenizers is None:
        return Tokens()
    # Who doesn't use it doesn't pay for it.
    from tenantry.gateway.vocabularies import Vocabularies

    return Tokens(Vocabularies(settings.tokenizers).counter)
