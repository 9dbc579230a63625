"""The options that calling commands share."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from tenantry.cli.connection import connect as connected
from tenantry.cli.connection import connect_tenant as connected_tenant

__all__ = ["Address", "Key", "Tenant", "Variables", "connected", "connected_tenant", "duration", "variables"]

Address = Annotated[str | None, typer.Option(help="The mesh's address for clients (TENANTRY_ADDRESS).")]
Key = Annotated[str | None, typer.Option(help="The key to call with (TENANTRY_KEY).")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="The tenant; a demo tenant's key is known.")]
Variables = Annotated[list[str] | None, typer.Option("--var", help="A variable, NAME=VALUE. May be repeated.")]


def duration(text: str) -> Duration:
    """A duration of one unit, such as `15m`."""
    form = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if form is None:
        raise typer.BadParameter(f"{text}: write a duration as 30s, 15m, 12h or 7d")
    return Duration(seconds=int(form[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[form[2]])


def variables(given: Sequence[str] | None) -> dict[str, str]:
    """Variables by name."""
    pairs = [one.partition("=") for one in given or ()]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise typer.BadParameter(f"--var {name}: write it as NAME=VALUE")
    return {name: value for name, _, value in pairs}
