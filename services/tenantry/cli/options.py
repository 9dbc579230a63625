"""The options that every calling command has."""

from typing import Annotated

import typer

from tenantry.cli.connection import Connection, connect

Address = Annotated[str | None, typer.Option(help="The mesh's address for clients (TENANTRY_ADDRESS).")]
Key = Annotated[str | None, typer.Option(help="The key to call with (TENANTRY_KEY).")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Call with this demo tenant's key.")]


def connected(address: str | None, key: str | None, tenant: str | None) -> Connection:
    """The connection that the options ask for."""
    return connect(address, key, tenant)
