"""`tenantry top`: who runs or waits in the pools of providers' capacity, who is refused, and what is used of their limits."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import grpc
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import as_dict, clean, console, is_terminal
from tenantry.cli.refusals import fail

_MOST_POOLS = 100
# Tenants of a pool that a terminal shows, and tenants whose limits are asked for.
_MOST_TENANTS = 20
# Tenants that a list of the refused holds; of others nothing is known when it is full.
_MOST_REFUSED = 200
_WITHIN_S = 10.0
_REACHED = 100
_COLUMNS = (
    "tenant",
    "running",
    "of all",
    "waiting",
    "due",
    "expected wait",
    "requests",
    "tokens",
    "refusals",
    "refused by",
)


@dataclass(frozen=True, slots=True)
class _Used:
    """Parts of a tenant's limits of requests and of tokens that are used, and the limits that were reached: of rates in this
    hour, of budgets in their period."""

    requests: float
    tokens: float
    reached: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pool at one moment, what is used of its tenants' limits, and who was refused how often in the last minute. A pool without
    a name: those who were refused and are in none."""

    pool: str
    queue: pb.WatchQueueResponse
    used: dict[str, _Used]
    refused: dict[str, int]

    @property
    def running(self) -> int:
        return sum(row.running for row in self.queue.rows)

    @property
    def waiting(self) -> int:
        return sum(row.waiting for row in self.queue.rows)

    def refusals(self, tenant: str) -> int | None:
        """None: not known, but fewer than of those who are."""
        return self.refused.get(tenant, 0 if len(self.refused) < _MOST_REFUSED else None)


_Look = Callable[[], Sequence[_Seen]]


def top(
    pool: Annotated[list[str] | None, typer.Option(help="This pool, PROVIDER:MODEL. May be repeated.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    every: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")] = 2.0,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Show who runs, who waits and who is refused: an operator sees all tenants, a tenant's admin its own. Ctrl-C ends it."""
    look = partial(_look, connected(address, key, tenant), pool or (), tenant or "")
    try:
        if is_terminal():
            _draw(look, 0.0 if once else every)
        else:
            _print(look, 0.0 if once else every)
    except KeyboardInterrupt:
        return  # how it is meant to end


def _print(look: _Look, every_s: float) -> None:
    """JSON lines; without `every_s`, of one look."""
    while True:
        for line in _lines(look()):
            print(json.dumps(line), flush=True)
        if not every_s:
            return
        time.sleep(every_s)


def _draw(look: _Look, every_s: float) -> None:
    """Tables in the same place; without `every_s`, once."""
    with Live(_view(look()), console=console, auto_refresh=False) as live:
        while every_s:
            time.sleep(every_s)
            live.update(_view(look()), refresh=True)


def _pools(connection: Connection, tenant: str) -> list[str]:
    """The pools in use and those that were set; for those who may not list them, those of the models that they can reach."""
    try:
        names = sorted({name for in_use in (True, False) for name in _listed(connection, in_use)})
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.PERMISSION_DENIED:
            raise
        names = sorted({name for model in _models(connection) for name in _names_of(model, tenant)})
    if len(names) > _MOST_POOLS:
        fail(f"there are {len(names)} pools", f"name up to {_MOST_POOLS} of them with --pool")
    return names


def _listed(connection: Connection, in_use: bool) -> list[str]:
    request: Any = pb.ListPoolsRequest(in_use=in_use)
    return [one.name for one in connection.pages(FairQueueServiceStub, "ListPools", request, "pools")]


def _models(connection: Connection) -> Iterable[model_pb.Model]:
    return connection.pages(ModelServiceStub, "ListModels", model_pb.ListModelsRequest(), "models")


def _names_of(model: model_pb.Model, tenant: str) -> list[str]:
    """The names that models gives to the pools of a model: all tenants', and one's own. What runs in this process has none."""
    if model.provider == model_pb.PROVIDER_EXTRACTIVE:
        return []
    provider = model_pb.Provider.Name(model.provider).removeprefix("PROVIDER_").lower()
    shared, owner = f"{provider}:{model.provider_model}", model.tenant or tenant
    return [*([] if model.tenant else [shared]), *([f"{owner}/{shared}"] if owner else [])]


def _look(connection: Connection, pools: Sequence[str], tenant: str) -> list[_Seen]:
    """These pools, the longest queues first; without a name all pools, and then those who were refused and are in none."""
    names = pools or _pools(connection, tenant)
    queues = {name: _first(connection, pb.WatchQueueRequest(pool=name, tenant=tenant)) for name in names}
    busiest = sorted(
        (row for queue in queues.values() for row in queue.rows), key=lambda row: -(row.waiting + row.running)
    )
    present = dict.fromkeys(row.tenant for row in busiest)
    refused = _refused(connection, tenant)
    others = [] if pools else [name for name in refused if name not in present]
    shown = [*list(present)[:_MOST_TENANTS], *others[:_MOST_TENANTS]]
    used = {name: part for name in shown if (part := _used(connection, name)) is not None}
    seen = sorted((_Seen(name, queue, used, refused) for name, queue in queues.items()), key=lambda one: -one.waiting)
    nowhere = pb.WatchQueueResponse(rows=[pb.QueueRow(tenant=name) for name in others])
    return [*seen, *([_Seen("", nowhere, used, refused)] if others else [])]


def _refused(connection: Connection, tenant: str) -> dict[str, int]:
    request = limit_pb.ListRefusedTenantsRequest(tenant=tenant)
    found = connection.call(LimitServiceStub, "ListRefusedTenants", request, timeout_s=_WITHIN_S)
    return {one.tenant: one.refusals for one in found.tenants}


def _first(connection: Connection, request: pb.WatchQueueRequest) -> pb.WatchQueueResponse:
    stream = connection.call(FairQueueServiceStub, "WatchQueue", request, timeout_s=_WITHIN_S)
    try:
        return next(stream)
    finally:
        stream.cancel()


def _used(connection: Connection, tenant: str) -> _Used | None:
    """How much the tenant uses: of its limits of requests and of tokens those that are nearest to their ends."""
    request = limit_pb.GetQuotaUsageRequest(tenant=tenant)
    try:
        uses = connection.call(LimitServiceStub, "GetQuotaUsage", request, timeout_s=_WITHIN_S).uses
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:  # it was deleted, and its last calls run
            return None
        raise
    parts = [(use.measure, use.used / (use.burst or use.limit)) for use in uses if use.burst or use.limit]
    requests, tokens = (
        max((part for measure, part in parts if what in measure), default=0.0) for what in ("requests", "tokens")
    )
    reached = {use.measure for use in uses if use.warned_percent == _REACHED}
    return _Used(requests, tokens, tuple(sorted(reached)))


def _lines(seen: Sequence[_Seen]) -> Iterable[dict[str, Any]]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for one in seen:
        for row in one.queue.rows:
            line = {"time": now, "pool": one.pool, **as_dict(row)}
            if (refusals := one.refusals(row.tenant)) is not None:
                line["refusals"] = refusals
            if used := one.used.get(row.tenant):
                line |= {"requests_used": used.requests, "tokens_used": used.tokens, "refused_by": used.reached}
            if one.queue.HasField("pool"):
                line["running_share"] = row.running / one.running if one.running else 0.0
            yield line


def _view(seen: Sequence[_Seen]) -> Group:
    if not seen:
        return Group(Text("no pool is in use", "dim"))
    parts: list[Text | Table] = []
    for one in seen:
        use = one.queue.pool
        state = f"  {use.in_use} of {use.room} in use, {use.waiting} waiting" if one.queue.HasField("pool") else ""
        name = clean(one.pool) or "refused, and in no pool"
        parts += [Text.assemble((name, "bold"), state), _table(one), Text()]
    return Group(*parts[:-1])


def _table(seen: _Seen) -> Table | Text:
    if not seen.queue.rows:
        return Text("  nobody runs or waits", "dim")
    table = Table("  " + _COLUMNS[0], box=None, header_style="bold")
    for column in _COLUMNS[1:]:
        table.add_column(column, justify="right", overflow="fold")
    for row in seen.queue.rows[:_MOST_TENANTS]:
        part = f"{row.running / seen.running:.0%}" if seen.queue.HasField("pool") and seen.running else ""
        wait = f"{row.expected_wait.ToMilliseconds() / 1000:.1f} s" if row.HasField("expected_wait") else ""
        due = f"{row.share:.0%}" if row.waiting else ""
        cells = (str(row.running), part, str(row.waiting), due, wait)
        table.add_row(
            Text("  " + clean(row.tenant)), *cells, *_limits(seen.used.get(row.tenant), seen.refusals(row.tenant))
        )
    if (more := len(seen.queue.rows) - _MOST_TENANTS) > 0:
        table.add_row(Text(f"  and {more} more", "dim"))
    return table


def _limits(used: _Used | None, refusals: int | None) -> tuple[Text, ...]:
    refused = Text("" if refusals is None else str(refusals), "red" if refusals else "")
    if used is None:
        return Text(), Text(), refused
    return _percent(used.requests), _percent(used.tokens), refused, Text(", ".join(used.reached), "red")


def _percent(part: float) -> Text:
    return Text(f"{part:.0%}", "red" if part >= 1 else "yellow" if part >= 0.8 else "")
