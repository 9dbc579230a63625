"""`tenantry simulate`: what limits, weights and a pool would have done to a recorded trace. It calls nobody."""

import gzip
import json
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO, cast

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from tenantry.cli.output import clean, console, is_terminal
from tenantry.cli.refusals import fail
from tenantry.quota.entries import Limits
from tenantry.quota.limit_rules import NAMES, check_bursts, check_limits
from tenantry.quota.limits import MOST_WEIGHT
from tenantry.quota.outcomes import Outcome, largest_difference, outcomes
from tenantry.quota.recorded import MOST_WRONG, Wrong, read, split
from tenantry.quota.served import Prices
from tenantry.quota.simulation import Arrival, Fate, Member, Provider, simulate
from tenantry.quota.slot import Kind, PoolSettings

_MOST_LINE = 65_536
_MOST_CAPACITY = 100_000_000
# Of a pool that nobody set.
_SEATS = PoolSettings().capacity
# One value for all tenants, or one a tenant.
_EACH = ""
Each = Annotated[str, typer.Option(help="One for all, or a=60,b=600.")]
_COLUMNS = ("tenant", "weight", "requests", "admitted", "refused by", "wait p50", "p99", "share", "due")


def simulated(
    trace: Annotated[
        Path, typer.Argument(help="A CSV of time,tenant,input,output; or Azure's form; or one of these as .gz.")
    ],
    seats: Annotated[
        int | None, typer.Option(min=1, max=_MOST_CAPACITY, help="Calls that the pool takes at once; 256.")
    ] = None,
    pool_tokens: Annotated[
        int | None, typer.Option(min=1, max=_MOST_CAPACITY, help="Tokens in flight that it takes, in place of seats.")
    ] = None,
    most_waiting: Annotated[int, typer.Option(min=0, max=1_000_000, help="Calls that may wait in its queue.")] = 20_000,
    token_ms: Annotated[
        float, typer.Option(min=0.001, max=60_000, help="Milliseconds for each token of an answer.")
    ] = 43.0,
    within: Annotated[
        float, typer.Option(min=0, max=86_400, help="Seconds that a call may wait; 0: without end.")
    ] = 0.0,
    weights: Annotated[str, typer.Option(help="Tenants' weights, a=1,b=4; 1 unless given.")] = "",
    organisations: Annotated[
        str, typer.Option(help="Tenants' organisations, a=acme,b=acme; else each has its own.")
    ] = "",
    requests_per_minute: Each = "",
    request_burst: Annotated[str, typer.Option(help="So many at once; a minute's unless given.")] = "",
    tokens_per_minute: Each = "",
    token_burst: Annotated[str, typer.Option(help="So many at once; a minute's unless given.")] = "",
    tokens_per_day: Each = "",
    concurrent_requests: Each = "",
    tenants: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Split a trace without tenants over so many.")
    ] = None,
    first_come: Annotated[
        bool, typer.Option("--first-come", help="Serve in the order of arrival, for comparison.")
    ] = False,
) -> None:
    """Say what these limits, weights and pool would have done to a trace."""
    if seats and pool_tokens:
        raise typer.BadParameter("--seats and --pool-tokens exclude each other")
    limits = {name: value for name, value in locals().items() if name in NAMES}
    arrivals = _arrivals(trace, tenants)
    members = _members(sorted({arrival.tenant for arrival in arrivals}), weights, organisations, limits)
    kind, capacity = (Kind.TOKENS, pool_tokens) if pool_tokens else (Kind.SEATS, seats or _SEATS)
    pool = PoolSettings(kind, capacity, most_waiting=most_waiting)
    if within:
        arrivals = [replace(arrival, patience_s=within) for arrival in arrivals]
    with _progress(len(arrivals)) as done:
        fates = simulate(arrivals, pool, Provider(token_ms / 1000), members, fair=not first_come, done=done)
    _show(fates, members, Prices(pool.input_weight, pool.output_weight))


def _arrivals(trace: Path, tenants: int | None) -> list[Arrival]:
    try:
        with _opened(trace) as file:
            arrivals, wrong = read(iter(partial(file.readline, _MOST_LINE), ""))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        fail(f"{trace} is no whole gzip file", "copy it again")
    if wrong:
        _fail(trace, wrong)
    if arrivals[0].tenant:
        if tenants is not None:
            fail(f"{trace} names its tenants itself", "leave --tenants out")
        return arrivals
    if tenants is None:
        fail(f"{trace} names no tenants", "say with --tenants over how many to split it")
    return split(arrivals, tenants, seed=1)


@contextmanager
def _opened(trace: Path) -> Generator[TextIO]:
    if trace.suffix == ".gz":
        with gzip.open(trace, "rt", encoding="utf-8", newline="") as file:
            yield cast(TextIO, file)
    else:
        with trace.open(encoding="utf-8", newline="") as file:
            yield file


def _fail(trace: Path, wrong: Sequence[Wrong]) -> None:
    for one in wrong:
        typer.echo(clean(f"{trace}:{one.line}: {one.reason}"), err=True)
    number = f"{len(wrong)} lines" if len(wrong) > 1 else "a line"
    more = " and maybe more" if len(wrong) == MOST_WRONG else ""
    fail(f"{trace} has {number}{more} that can't be read", "correct that and try again")


def _texts(option: str, given: str, known: Sequence[str]) -> dict[str, str]:
    """Values by tenant; one that is for all stands under ""."""
    found: dict[str, str] = {}
    for part in filter(None, given.split(",")):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not value or (equals and not name) or name in found:
            raise typer.BadParameter(f"{option} {part}: write it as a=1,b=4")
        if name and name not in known:
            raise typer.BadParameter(f"{option}: the trace has no tenant {name}")
        found[name] = value
    return found


def _numbers(option: str, given: str, known: Sequence[str]) -> dict[str, int]:
    found = _texts(option, given, known)
    for value in found.values():
        if not (value.isascii() and value.isdecimal() and len(value) <= 15):
            raise typer.BadParameter(f"{option}: {value} is no whole number")
    return {name: int(value) for name, value in found.items()}


def _members(known: Sequence[str], weights: str, organisations: str, limits: Mapping[str, str]) -> Mapping[str, Member]:
    owners, shares = _texts("--organisations", organisations, known), _numbers("--weights", weights, known)
    given = {name: _numbers("--" + name.replace("_", "-"), value, known) for name, value in limits.items()}
    for name, weight in shares.items():
        if not 1 <= weight <= MOST_WEIGHT:
            raise typer.BadParameter(f"--weights: {name or 'all'} is not within 1 and {MOST_WEIGHT}")
    return {
        tenant: Member(
            owners.get(tenant, owners.get(_EACH, tenant)),
            shares.get(tenant, shares.get(_EACH, 1)),
            limits=_limits(tenant, given),
        )
        for tenant in known
    }


def _limits(tenant: str, given: Mapping[str, Mapping[str, int]]) -> Limits:
    of = {name: values.get(tenant, values.get(_EACH, 0)) for name, values in given.items()}
    of["request_burst"] = of["request_burst"] or of["requests_per_minute"]
    of["token_burst"] = of["token_burst"] or of["tokens_per_minute"]
    limits = Limits(**of)
    if wrong := check_limits(limits, tenant) or check_bursts(limits, tenant):
        raise typer.BadParameter("; ".join(f"{field} {reason}" for field, reason in wrong))
    return limits


@contextmanager
def _progress(total: int) -> "Generator[_Done]":
    """A bar on a terminal, which must not be drawn for each request."""
    with Progress(console=console, transient=True, disable=not is_terminal()) as bar:
        yield _Done(bar, total)


class _Done:
    """Counts the requests whose fate is known."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("simulating", total=total)
        self._step = max(1, total // 200)
        self._count = 0

    def __call__(self) -> None:
        self._count += 1
        if self._count % self._step == 0:
            self._bar.update(self._task, completed=self._count)


def _show(fates: Sequence[Fate], members: Mapping[str, Member], prices: Prices) -> None:
    rows, apart = outcomes(fates, members, prices), largest_difference(fates, members, prices)
    if not is_terminal():
        for row in rows:
            print(json.dumps(asdict(row)))
        print(json.dumps({"largest_difference": apart}))
        return
    table = Table(*_COLUMNS, box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    console.print(f"\nWhile two tenants both waited, their service by weight was {apart:,.0f} apart at most.")


def _cells(row: Outcome) -> list[Text]:
    refused = ", ".join(f"{what} {count:,}" for what, count in row.refused.items())
    waits = [f"{wait:.2f} s" if wait is not None else "" for wait in (row.wait_p50_s, row.wait_p99_s)]
    counts = (str(row.weight), f"{row.requests:,}", f"{row.admitted:,}")
    return [Text(clean(one)) for one in (row.tenant, *counts, refused, *waits, f"{row.share:.1%}", f"{row.due:.1%}")]
