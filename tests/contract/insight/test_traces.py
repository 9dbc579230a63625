"""What every Traces store does, on SQLite and PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from tenantry.insight.spans import Position
from tenantry.insight.store_sql.tables import SPANS, TRACES
from tenantry.insight.store_sql.traces import SqlTraces
from tenantry.kit.owner import Platform
from tenantry.kit.sql import Database, migrate
from tests.contract.insight.entry import ACME, GLOBEX, TRACE, span
from tests.harness.clock import FrozenClock

EVERYONE = Platform()
IN_TRACE = 20


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "insight")
    await migrate(database, "tenantry.insight.migrations")
    yield database
    await database.close()


@pytest.fixture
async def traces(database: Database, clock: FrozenClock) -> SqlTraces:
    traces = SqlTraces(database, clock, IN_TRACE)
    for tenant in (ACME, GLOBEX):
        assert await traces.add_tenant(tenant, "pro")
    return traces


def trace_id(number: int) -> str:
    return f"{number:032x}"


async def test_spans_in_any_order_and_number_of_exports_make_the_same_trace(traces: SqlTraces) -> None:
    random.seed(3)
    for number in range(1, 6):
        spans = [span(one, trace_id(number), start_ns=number * 1000 + one) for one in range(1, 7)]
        random.shuffle(spans)
        for one in spans:
            await traces.add(EVERYONE, [one, one])
        found = await traces.find(ACME, trace_id(number))
        assert found is not None
        trace, kept = found
        assert (trace.name, trace.start_ns, trace.spans) == ("work 1", number * 1000 + 1, 6)
        assert [one.name for one in kept] == [f"work {one}" for one in range(1, 7)]


async def test_a_span_is_kept_once(traces: SqlTraces) -> None:
    assert await traces.add(EVERYONE, [span(1), span(2)]) == 2
    assert await traces.add(EVERYONE, [span(1), span(2), span(3)]) == 1
    [trace] = await traces.traces(ACME, None, 10)
    assert trace.spans == 3


async def test_a_span_comes_back_as_it_was_stored(traces: SqlTraces) -> None:
    stored = span(1, attributes='{"rpc.method": "é"}', failed=True, request_id="req_9")
    await traces.add(EVERYONE, [stored])
    assert await traces.find(ACME, "req_9") == await traces.find(ACME, TRACE)
    found = await traces.find(ACME, TRACE)
    assert found is not None and found[1] == [stored] and found[0].failed


async def test_until_the_root_comes_the_earliest_span_stands_for_the_trace(traces: SqlTraces) -> None:
    await traces.add(EVERYONE, [span(3), span(2)])
    [trace] = await traces.traces(ACME, None, 10)
    assert trace.name == "work 2"
    await traces.add(EVERYONE, [span(1, start_ns=2 * 10**18)])
    [trace] = await traces.traces(ACME, None, 10)
    assert trace.name == "work 1"


async def test_a_trace_is_seen_only_as_far_as_it_is_the_tenants_own(traces: SqlTraces) -> None:
    await traces.add(EVERYONE, [span(1), span(2, tenant="globex"), span(1, tenant="globex", name="other")])
    mine, theirs = await traces.find(ACME, TRACE), await traces.find(GLOBEX, TRACE)
    assert mine is not None and [one.name for one in mine[1]] == ["work 1"]
    assert theirs is not None and {one.name for one in theirs[1]} == {"other", "work 2"}
    await traces.add(EVERYONE, [span(1, trace_id(9), "globex", request_id="req_g")])
    assert await traces.find(ACME, trace_id(9)) is None and await traces.find(ACME, "req_g") is None


async def test_of_two_traces_with_one_request_id_the_newer_is_found(traces: SqlTraces) -> None:
    await traces.add(EVERYONE, [span(1, trace_id(1), start_ns=10), span(1, trace_id(2), start_ns=20)])
    found = await traces.find(ACME, "req_1")
    assert found is not None and found[0].trace_id == trace_id(2)


async def test_spans_of_a_tenant_that_is_not_served_are_not_kept(traces: SqlTraces) -> None:
    assert await traces.add(EVERYONE, [span(1), span(2, tenant="initech")]) == 1
    assert await traces.remove_tenant(ACME)
    assert await traces.delete(ACME, 10) == 1
    assert await traces.add(EVERYONE, [span(3)]) == 0
    assert await traces.find(ACME, TRACE) is None


async def test_a_trace_has_so_many_spans_at_most(traces: SqlTraces) -> None:
    await traces.add(EVERYONE, [span(number) for number in range(1, 16)])
    await traces.add(EVERYONE, [span(number) for number in range(16, 40)])
    [trace] = await traces.traces(ACME, None, 10)
    found = await traces.find(ACME, TRACE)
    assert found is not None and trace.spans == len(found[1]) == IN_TRACE


async def test_traces_come_in_pages_newest_first_each_once(traces: SqlTraces) -> None:
    await traces.add(EVERYONE, [span(1, trace_id(number), start_ns=1000 + number // 3) for number in range(10)])
    found: list[str] = []
    before = None
    while page := await traces.traces(ACME, before, 4):
        found += [one.trace_id for one in page]
        before = Position(page[-1].start_ns, page[-1].trace_id)
    assert found == [trace_id(number) for number in range(9, -1, -1)]


async def test_what_was_stored_too_long_ago_goes_whatever_its_spans_say(traces: SqlTraces, clock: FrozenClock) -> None:
    await traces.add(EVERYONE, [span(1, trace_id(1), start_ns=2**61)])
    clock.advance(100)
    await traces.add(EVERYONE, [span(1, trace_id(2), start_ns=1)])
    assert await traces.delete_older(EVERYONE, clock.now() - 50, 10) == 1
    assert [one.trace_id for one in await traces.traces(ACME, None, 10)] == [trace_id(2)]
    assert await traces.find(ACME, trace_id(1)) is None


async def test_a_surplus_is_taken_from_who_has_the_most_its_oldest_first(traces: SqlTraces, clock: FrozenClock) -> None:
    await traces.add(EVERYONE, [span(1, trace_id(1), "globex")])
    for number in range(2, 8):
        clock.advance(1)
        await traces.add(EVERYONE, [span(1, trace_id(number)), span(2, trace_id(number))])
    assert await traces.delete_surplus(EVERYONE, 13, 2) == 0
    assert await traces.delete_surplus(EVERYONE, 12, 2) == 2
    assert [one.trace_id for one in await traces.traces(ACME, None, 10)] == [
        trace_id(number) for number in (7, 6, 5, 4)
    ]
    assert len(await traces.traces(GLOBEX, None, 10)) == 1


async def test_writers_of_the_same_trace_at_once_agree(traces: SqlTraces) -> None:
    await traces.add(EVERYONE, [span(1)])
    writers = [traces.add(EVERYONE, [span(number) for number in range(1, 9)]) for _ in range(4)]
    assert sum(await asyncio.gather(*writers)) == 7
    [trace] = await traces.traces(ACME, None, 10)
    assert trace.spans == 8


async def orphans(database: Database) -> int:
    """Spans whose trace has no row, so that no limit would ever find them."""
    of_a_trace = select(TRACES.c.trace_id).where(
        TRACES.c.tenant == SPANS.c.tenant, TRACES.c.trace_id == SPANS.c.trace_id
    )
    async with database.read() as connection:
        query = select(func.count()).select_from(SPANS).where(~of_a_trace.exists())
        return (await connection.execute(query)).scalar_one()


async def test_a_tenant_that_goes_while_its_spans_are_written_leaves_none(
    database: Database, traces: SqlTraces
) -> None:
    async def write(number: int) -> None:
        await traces.add(EVERYONE, [span(one, trace_id(number)) for one in range(1, 5)])

    async def go() -> None:
        assert await traces.remove_tenant(ACME)
        while await traces.delete(ACME, 3):
            pass

    await asyncio.gather(*map(write, range(1, 9)), go(), *map(write, range(9, 17)))
    assert await traces.traces(ACME, None, 100) == [] and await orphans(database) == 0


async def test_spans_that_come_while_their_trace_is_swept_are_counted_or_gone(
    database: Database, traces: SqlTraces, clock: FrozenClock
) -> None:
    for turn in range(5):
        await traces.add(EVERYONE, [span(1, trace_id(turn))])
        more = [traces.add(EVERYONE, [span(number, trace_id(turn))]) for number in range(2, 6)]
        await asyncio.gather(*more[:2], traces.delete_older(EVERYONE, clock.now() + 1, 100), *more[2:])
        assert await orphans(database) == 0
        for trace in await traces.traces(ACME, None, 100):
            found = await traces.find(ACME, trace.trace_id)
            assert found is not None and len(found[1]) == trace.spans
