"""The options that calling commands share."""

from collections.abc import Sequence
from typing import Annotated

import typer

from tenantry.cli.connection import connect as connected
from tenantry.cli.connection import connect_tenant as connected_tenant

__all__ = ["Address", "Key", "Tenant", "Variables", "connected", "connected_tenant", "variables"]

Address = Annotated[str | None, typer.Option(help="The mesh's address for clients (TENANTRY_ADDRESS).")]
Key = Annotated[str | None, typer.Option(help="The key to call with (TENANTRY_KEY).")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="The tenant; a demo tenant's key is known.")]
Variables = Annotated[list[str] | None, typer.Option("--var", help="A variable, NAME=VALUE. May be repeated.")]


def variables(given: Sequence[str] | None) -> dict[str, str]:
    """Variables by name."""
    pairs = [one.partition("=") for one in given or ()]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise typer.BadParameter(f"--var {name}: write it as NAME=VALUE")
    return {name: value for name, _, value in pairs}
