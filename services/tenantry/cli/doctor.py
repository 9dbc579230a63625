"""`tenantry doctor`: is everything that the mesh needs there and fit, and what to do if not."""

import asyncio
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from tenantry.cli import settings
from tenantry.cli.output import console, is_terminal
from tenantry.cli.processes import is_healthy
from tenantry.kit import settings as mesh
from tenantry.kit.errors import TenantryError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `next_step` is empty when it is well."""

    what: str
    next_step: str = ""


def doctor() -> None:
    """Look at the state directory, the stores and the services, and say what to do."""
    ill = False
    for finding in _findings():
        ill = ill or bool(finding.next_step)
        if not is_terminal():
            print(json.dumps({"what": finding.what, "well": not finding.next_step, "next_step": finding.next_step}))
        elif finding.next_step:
            console.print(f"[red]✗[/red] {finding.what}: {finding.next_step}")
        else:
            console.print(f"[green]✓[/green] {finding.what}")
    if ill:
        raise typer.Exit(1)


def _findings() -> Iterator[Finding]:
    yield from _secrets()
    for name, url in (("books", mesh.books_url()), ("cache", mesh.cache_url())):
        yield asyncio.run(_redis(name, url))
    addresses = mesh.mesh_settings(mesh.SERVICES[0])
    cohosted = is_healthy(addresses.listen)
    for name in mesh.SERVICES:
        address = addresses.addresses[name]
        if not is_healthy(address) and not cohosted:
            yield Finding(f"{name} does not answer at {address}", "start it: `tenantry up`, or `tenantry serve`")
        else:
            yield Finding(f"{name} answers")
    edge = settings.address()
    well = is_healthy(edge)
    yield Finding(f"clients' address {edge}", "" if well else "start the process that hosts the gateway")


def _secrets() -> Iterator[Finding]:
    folder = mesh.secret_file("").parent if not mesh.secret_file("").is_dir() else mesh.secret_file("")
    if not folder.is_dir():
        yield Finding(f"secrets in {folder}", "run `tenantry init`")
        return
    open_to_others = [path.name for path in folder.iterdir() if path.stat().st_mode & _OTHERS]
    step = f"make {', '.join(open_to_others)} readable by you alone: chmod 600" if open_to_others else ""
    yield Finding(f"secrets in {folder}", step)


async def _redis(name: str, url: str) -> Finding:
    from tenantry.kit import redis

    client = redis.connect(url, store=name)
    try:
        await client.ping()
        if name == "books":
            await redis.require_books(client)
    except TenantryError as error:
        return Finding(f"{name}", f"{error.message}; start it, or set TENANTRY_{name.upper()}_URL")
    finally:
        await client.close()
    return Finding(f"{name} answers and is fit")
