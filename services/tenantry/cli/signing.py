"""`tenantry signing`: the keys that assertions and service tokens are signed with."""

import asyncio
from datetime import UTC, datetime

import typer

from tenantry.cli.output import note

app = typer.Typer(help="Signing keys. Run it where `tenantry init` runs.", no_args_is_help=True, add_completion=False)


@app.callback()
def signing() -> None:
    """A group of its own, though it has one command."""


@app.command("rotate")
def rotate() -> None:
    """Make a new signing key, which signs as soon as every service knows it. No valid call is refused."""
    from tenantry.tenancy.settings import from_environment
    from tenantry.tenancy.signing_rotation import rotate_now

    made = asyncio.run(rotate_now(from_environment()))
    begins = datetime.fromtimestamp(made.not_before_ns / 1e9, UTC)
    note(signing_key=made.id, signs_from=begins.isoformat(timespec="seconds"))
