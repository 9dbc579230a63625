"""`tenantry edge`: Envoy in front of a mesh, until Ctrl-C."""

import asyncio

import typer

from tenantry.cli import settings
from tenantry.cli.envoy.settings import Settings
from tenantry.kit import settings as mesh
from tenantry.kit import telemetry
from tenantry.kit.access import EDGE


def edge() -> None:
    """Run Envoy at the address for clients; the services run elsewhere, without an edge of their own."""
    from tenantry.cli.envoy.process import run

    own = mesh.mesh_settings("gateway")
    telemetry.log_json(own.log_level)
    status = asyncio.run(run(envoy_settings(own), own))
    if status:
        raise typer.Exit(status)


def envoy_settings(own: mesh.MeshSettings) -> Settings:
    """What the environment sets for Envoy."""
    return Settings(
        listen=own.edge_listen,
        http_listen=settings.http_address(),
        addresses=own.addresses,
        token=own.tokens / f"{EDGE}.token",
        folder=mesh.state_directory() / "envoy",
        certificate=settings.edge_certificate(),
        tls=own.tls,
        envoy=settings.envoy(),
    )
