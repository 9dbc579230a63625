"""`tenantry doctor`: is everything that the mesh needs there and fit, and what to do if not."""

import asyncio
import json
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import typer
from rich.text import Text

from tenantry.cli import settings
from tenantry.cli.output import clean, console, is_terminal
from tenantry.cli.processes import is_healthy
from tenantry.kit import settings as mesh
from tenantry.kit.errors import TenantryError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Assertions, holds and limits end by the clock of whoever looks; clocks further apart than this end them early.
_SKEW_S = 2.0
_FEW_DAYS = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `next_step` is empty when it is well."""

    what: str
    next_step: str = ""


def doctor() -> None:
    """Look at the state directory, the stores and the services, and say what to do."""
    ill = False
    for finding in findings():
        ill = ill or bool(finding.next_step)
        if not is_terminal():
            print(json.dumps({"what": finding.what, "well": not finding.next_step, "next_step": finding.next_step}))
        else:
            mark = ("✗", "red") if finding.next_step else ("✓", "green")
            said = f" {finding.what}{': ' if finding.next_step else ''}{finding.next_step}"
            console.print(Text.assemble(mark, clean(said)), soft_wrap=True)
    if ill:
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    """All that is looked at, what others hang on first."""
    state = mesh.state_directory()
    yield Finding(f"state directory {state}", "" if state.is_dir() else "run `tenantry init` or `tenantry up`")
    yield private(mesh.secret_file("operator.key").parent, "secrets")
    yield private(mesh.mesh_settings("tenancy").tokens, "service tokens")
    if mesh.mesh_settings("tenancy").tls is not None:
        yield from _certificates(settings.tls_folder())
    for role, url in (("books", mesh.books_url()), ("cache", mesh.cache_url())):
        yield from asyncio.run(_redis(role, url))
    for service in mesh.SERVICES:
        if _has_tables(service):
            yield _tables(service)
    for service in mesh.SERVICES:
        yield _health(service)
    edge = settings.address()
    yield Finding(f"clients' address {edge}", "" if is_healthy(edge) else "start the process that hosts the gateway")


def private(folder: Path, what: str) -> Finding:
    """Whether the folder's files are there, and readable by their owner alone."""
    if not folder.is_dir():
        return Finding(f"{what} in {folder}", "run `tenantry init`")
    exposed = sorted(path.name for path in folder.iterdir() if path.stat().st_mode & _OTHERS)
    step = f"make {', '.join(exposed)} readable by you alone: chmod 600" if exposed else ""
    return Finding(f"{what} in {folder}", step)


def _certificates(folder: Path) -> Iterator[Finding]:
    from tenantry.cli.certificates import ends

    yield private(folder, "certificates")
    for name, end in ends(folder):
        days = (end - datetime.now(UTC)).days if end else -1
        step = "make it anew: `tenantry certificates`, or the CA that it is of" if days < _FEW_DAYS else ""
        said = f"ends in {days} days, {end:%Y-%m-%d}" if end and days >= 0 else "has ended" if end else "is missing"
        yield Finding(f"the certificate of {name} {said}", step)


async def _redis(role: str, url: str) -> list[Finding]:
    from tenantry.kit import redis

    client = redis.connect(url, store=role)
    try:
        seconds, micros = await client.execute("TIME")
        if role == "books":
            await redis.require_books(client)
        skew_s = abs(time.time() - int(seconds) - int(micros) / 1e6)
    except TenantryError as error:
        return [Finding(role, f"{error.message}; start it, or set TENANTRY_{role.upper()}_URL")]
    finally:
        await client.close()
    step = "set both machines' clocks by the same time server" if skew_s > _SKEW_S else ""
    return [Finding(f"{role} answers and is fit"), Finding(f"the clock of {role} differs by {skew_s:.1f} s", step)]


def _has_tables(service: str) -> bool:
    """Whether the service keeps tables: retrieval has some only beside a Weaviate."""
    if service == "retrieval":
        return bool(import_module("tenantry.retrieval.settings").from_environment().weaviate_url)
    return find_spec(f"tenantry.{service}.migrations") is not None


def _tables(service: str) -> Finding:
    from sqlalchemy.engine import make_url

    url = make_url(mesh.sql_url(service))
    # Looking must not make a file.
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return Finding(f"tables of {service}", f"there are none: start {service}")
    try:
        found, newest = asyncio.run(_revisions(service))
    except TenantryError as error:
        return Finding(f"tables of {service}", f"{error.message}; start the database, or set TENANTRY_SQL_URL")
    if found == newest:
        return Finding(f"tables of {service} are at revision {found}")
    step = "start a newer version of Tenantry" if found > newest else f"start {service}: it brings them there"
    return Finding(f"tables of {service} are at revision {found or 'none'}, this version's is {newest}", step)


async def _revisions(service: str) -> tuple[str, str]:
    from tenantry.kit.migrations import revisions
    from tenantry.kit.sql import Database

    database = Database(mesh.sql_url(service), service)
    try:
        return await revisions(database, f"tenantry.{service}.migrations")
    finally:
        await database.close()


def _health(service: str) -> Finding:
    """The service by its name, at its own address or at the one where a cohosted mesh has all."""
    own = mesh.mesh_settings(service)
    places = dict.fromkeys((own.addresses[service], mesh.mesh_settings(mesh.SERVICES[0]).listen))
    if any(is_healthy(address, service) for address in places):
        return Finding(f"{service} answers")
    return Finding(
        f"{service} does not answer at {own.addresses[service]}", "start it: `tenantry up`, or `tenantry serve`"
    )
