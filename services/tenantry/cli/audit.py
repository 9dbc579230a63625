"""`tenantry audit`: what administrators did and who was refused, and whether that and the usage are as they were written."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tenantry.api.tenancy.v1 import audit_service_pb2 as pb
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import AuditServiceStub
from tenantry.cli.audit_chains import Chain, Entry, audit_log, entries_of, usage_chain
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import note, show_all
from tenantry.cli.refusals import fail
from tenantry.kit.hash_chain import Walk

app = typer.Typer(help="Audit logs.", no_args_is_help=True, add_completion=False)
Usage = Annotated[bool, typer.Option("--usage", help="The tenant's chain of usage entries instead of its audit log.")]
_COLUMNS = ("number", "time", "principal", "service", "action", "subject", "outcome", "reason", "count")


@app.command("list")
def list_events(tenant: Tenant = None, address: Address = None, key: Key = None) -> None:
    """List the newest hundred events of a log: the tenant's, or the key's own."""
    request = pb.ListAuditEventsRequest(tenant=tenant or "")
    answer = connected(address, key, tenant).call(AuditServiceStub, "ListAuditEvents", request)
    show_all(answer.events, _COLUMNS)


@app.command("export")
def export(usage: Usage = False, tenant: Tenant = None, address: Address = None, key: Key = None) -> None:
    """Write a whole log as JSON lines, oldest first: the fields of the contract's AuditEvent (or UsageLink), and `log`."""
    chain = _chain(usage, tenant, address, key)
    with _progress("exported") as told:
        for number, entry in enumerate(chain.entries(), 1):
            sys.stdout.write(json.dumps({"log": entry.log, **entry.fields}) + "\n")
            told(number)


@app.command("verify")
def verify(
    file: Annotated[
        Path | None, typer.Argument(help="An exported log: verified too, and found again in the log.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="The file alone, without asking the mesh.")] = False,
    usage: Usage = False,
    tenant: Tenant = None,
    address: Address = None,
    key: Key = None,
) -> None:
    """Compute a log's hash chain anew; the first entry that was changed, removed, moved or added is named, with status 1."""
    exported = _verified_file(file) if file else None
    if offline:
        if exported is None:
            raise typer.BadParameter("name the file to verify")
        note(log=exported[0], entries=exported[1].number, hash=exported[1].hash.hex())
        return
    chain = _chain(usage or (exported is not None and exported[0].startswith("usage:")), tenant, address, key)
    walk = Walk()
    with _progress("verified") as told:
        for entry in chain.entries():
            _step(walk, entry)
            if exported is not None and walk.number == exported[1].number:
                _check_same(entry, walk, *exported)
            told(walk.number)
    _check_end(chain, walk, exported)
    note(log=chain.log, entries=walk.number, hash=walk.hash.hex())


def _chain(usage: bool, tenant: str | None, address: str | None, key: str | None) -> Chain:
    connection = connected(address, key, tenant)
    return usage_chain(connection, tenant or "") if usage else audit_log(connection, tenant or "")


def _verified_file(file: Path) -> tuple[str, Walk]:
    """Whose log the file is, and where it ends."""
    walk, log = Walk(), ""
    with file.open(encoding="utf-8") as lines:
        for number, entry in enumerate(entries_of(lines), 1):
            log = log or entry.log
            if entry.log != log:
                _broken(log, f"line {number} of {file} is of another log, {entry.log}")
            _step(walk, entry)
    if not log:
        fail(f"{file} holds no entry", "export it again with `tenantry audit export`")
    return log, walk


def _step(walk: Walk, entry: Entry) -> None:
    fault = walk.fault_of(entry.number, entry.hash, entry.hashed)
    if fault is None:
        fault = entry.fault
    if fault is not None:
        _broken(entry.log, f"{fault}{entry.named}")


def _check_same(entry: Entry, walk: Walk, log: str, end: Walk) -> None:
    if entry.log != log:
        fail(f"the file is of {log}, and the key reads {entry.log}", "name the tenant, or give its key")
    if walk.hash != end.hash:
        _broken(log, f"the log was written anew: entry {walk.number} is not the one that was exported{entry.named}")


def _check_end(chain: Chain, walk: Walk, exported: tuple[str, Walk] | None) -> None:
    fault = walk.short_of(*chain.head)
    if fault is None and exported is not None and walk.number < exported[1].number:
        fault = f"entry {walk.number + 1} is missing: the log ends there, and the file at {exported[1].number}"
    if fault is not None:
        _broken(chain.log, fault)


def _broken(log: str, fault: str) -> None:
    fail(
        f"{log} is not as it was written: {fault}", "compare it with an earlier export, and look who could write there"
    )


@contextmanager
def _progress(what: str) -> Generator[Callable[[int], None]]:
    """Tells on a terminal how far it is; in a pipe nothing."""
    console = Console(stderr=True)
    with console.status(f"{what} 0") as status:

        def told(number: int) -> None:
            if number % 500 == 0:
                status.update(f"{what} {number}")

        yield told
