"""What every Ledger does, on SQLite and PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tenantry.insight.entries import Grouping, Position, Sums
from tenantry.insight.store_sql.jobs import SqlJobs
from tenantry.insight.store_sql.ledger import SqlLedger
from tenantry.kit import tenants
from tenantry.kit.owner import Platform, Tenant
from tenantry.kit.sql import Database, migrate
from tests.contract.insight.entry import ACME, GLOBEX, NOW_US, batch, entry

EVERYONE = Platform()
ALL = (0, 2**62)
DAY_US = 86_400_000_000


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "insight")
    await migrate(database, "tenantry.insight.migrations")
    yield database
    await database.close()


@pytest.fixture
async def ledger(database: Database) -> SqlLedger:
    assert await SqlJobs(database, "me").claim(EVERYONE, "job", 600)
    return SqlLedger(database, "me")


async def enter(ledger: SqlLedger, *entries: object) -> None:
    assert await ledger.enter(EVERYONE, batch(*entries), "job", 600)  # type: ignore[arg-type]


async def test_an_entry_is_kept_as_it_was_settled(ledger: SqlLedger) -> None:
    settled = entry("r1", end_user="ann", first_token_ns=5, cache_hit=True, prompt="answer", prompt_revision=3)
    await enter(ledger, settled)
    assert await ledger.entries(ACME, "", None, 10) == [settled]


async def test_what_comes_twice_changes_nothing(ledger: SqlLedger) -> None:
    for _ in range(3):
        await enter(ledger, entry("r1"), entry("r1"), entry("r2"))
    total, _ = await ledger.sums(ACME, *ALL, None)
    assert (total.requests, total.input_tokens, total.cost_micros) == (2, 20, 14)


async def test_the_first_true_settlement_wins(ledger: SqlLedger) -> None:
    await enter(ledger, entry("r1", output_tokens=5))
    await enter(ledger, entry("r1", output_tokens=99), entry("r1", output_tokens=1, estimated=True))
    [kept] = await ledger.entries(ACME, "", None, 10)
    assert (kept.usage.output_tokens, kept.estimated) == (5, False)


async def test_an_estimate_is_replaced_by_a_true_settlement_once(ledger: SqlLedger) -> None:
    await enter(ledger, entry("r1", output_tokens=1000, estimated=True))
    await enter(ledger, entry("r1", output_tokens=2000, estimated=True))
    [kept] = await ledger.entries(ACME, "", None, 10)
    assert (kept.usage.output_tokens, kept.estimated) == (1000, True)
    await enter(ledger, entry("r1", output_tokens=5, settled_us=NOW_US + 1))
    await enter(ledger, entry("r1", output_tokens=6), entry("r1", output_tokens=1000, estimated=True))
    [kept] = await ledger.entries(ACME, "", None, 10)
    assert (kept.usage.output_tokens, kept.estimated, kept.settled_us) == (5, False, NOW_US + 1)
    total, _ = await ledger.sums(ACME, *ALL, None)
    assert (total.requests, total.estimated) == (1, 0)


async def test_of_an_estimate_and_a_settlement_in_one_batch_the_settlement_stays(ledger: SqlLedger) -> None:
    await enter(ledger, entry("r1", output_tokens=5), entry("r1", output_tokens=9, estimated=True))
    await enter(ledger, entry("r2", output_tokens=9, estimated=True), entry("r2", output_tokens=5))
    assert {one.usage.output_tokens for one in await ledger.entries(ACME, "", None, 10)} == {5}


async def test_a_reservation_of_one_tenant_is_never_replaced_by_anothers(ledger: SqlLedger) -> None:
    await enter(ledger, entry("r1", estimated=True))
    await enter(ledger, entry("r1", GLOBEX))
    assert [one.owner for one in await ledger.entries(ACME, "", None, 10)] == [ACME]
    assert await ledger.entries(GLOBEX, "", None, 10) == []


async def test_any_order_of_deliveries_gives_the_same_ledger(ledger: SqlLedger) -> None:
    random.seed(7)
    seen = []
    for number in range(8):
        estimates = [entry(f"r{number}", output_tokens=1000, estimated=True)] * 2
        deliveries = [*estimates, *[entry(f"r{number}", output_tokens=number)] * 2]
        random.shuffle(deliveries)
        seen += deliveries
    for one in seen:
        await enter(ledger, one)
    kept = await ledger.entries(ACME, "", None, 100)
    assert sorted(one.usage.output_tokens for one in kept) == list(range(8))
    assert not any(one.estimated for one in kept)


async def test_who_lost_the_claim_keeps_nothing(database: Database, ledger: SqlLedger) -> None:
    assert not await SqlLedger(database, "other").enter(EVERYONE, batch(entry("r1")), "job", 600)
    assert await ledger.entries(ACME, "", None, 10) == []


async def test_two_replicas_that_both_think_they_read_enter_each_once(database: Database, ledger: SqlLedger) -> None:
    many = [entry(f"r{number}") for number in range(50)]
    await asyncio.gather(*(ledger.enter(EVERYONE, batch(*many), "job", 600) for _ in range(4)))
    total, _ = await ledger.sums(ACME, *ALL, None)
    assert total.requests == 50


async def test_an_odd_entry_is_cut_and_does_not_hold_up_the_others(ledger: SqlLedger) -> None:
    odd = entry("r1", model="m\0" * 900, input_tokens=2**63 - 1, output_tokens=-5, latency_ns=2**62)
    await enter(ledger, odd, entry("r2"))
    kept = {one.reservation: one.usage for one in await ledger.entries(ACME, "", None, 10)}
    assert (kept["r1"].model, kept["r1"].output_tokens) == ("m" * 256, 0)
    assert set(kept) == {"r1", "r2"}


async def test_sums_are_of_one_tenant_and_the_time_asked_for(ledger: SqlLedger) -> None:
    await enter(ledger, *(entry(f"a{day}", settled_us=NOW_US + day * DAY_US) for day in range(4)), entry("g", GLOBEX))
    total, groups = await ledger.sums(ACME, NOW_US + DAY_US, NOW_US + 3 * DAY_US, None)
    assert (total.requests, groups) == (2, [])
    assert (await ledger.sums(Tenant("other-org", "acme"), *ALL, None))[0] == Sums()


async def test_sums_are_grouped_as_asked_the_most_requests_first(ledger: SqlLedger) -> None:
    await enter(
        ledger,
        entry("1", model="a", end_user="ann", outcome=3),
        entry("2", model="b", end_user="ann", key_id="key_2", cache_hit=True, settled_us=NOW_US + DAY_US),
        entry("3", model="b", estimated=True, outcome=0, settled_us=NOW_US + DAY_US),
    )
    by_model = (await ledger.sums(ACME, *ALL, Grouping.MODEL))[1]
    assert [(one.group, one.requests, one.input_tokens) for one in by_model] == [("b", 2, 20), ("a", 1, 10)]
    assert [(one.failures, one.cache_hits, one.estimated) for one in by_model] == [(0, 1, 1), (1, 0, 0)]
    by_day = (await ledger.sums(ACME, *ALL, Grouping.DAY))[1]
    assert [(one.group, one.requests) for one in by_day] == [("2023-11-15", 2), ("2023-11-14", 1)]
    by_user = (await ledger.sums(ACME, *ALL, Grouping.END_USER))[1]
    assert [(one.group, one.requests) for one in by_user] == [("ann", 2), ("", 1)]
    by_key = (await ledger.sums(ACME, *ALL, Grouping.KEY))[1]
    assert [(one.group, one.requests) for one in by_key] == [("key_1", 2), ("key_2", 1)]


async def test_groups_are_at_most_a_thousand(ledger: SqlLedger) -> None:
    await enter(ledger, *(entry(f"r{number}", end_user=f"user-{number:04}") for number in range(1005)))
    total, groups = await ledger.sums(ACME, *ALL, Grouping.END_USER)
    assert (total.requests, len(groups), groups[0].group) == (1005, 1000, "user-0000")


async def test_percentiles_are_within_one_percent_and_of_true_settlements_alone(ledger: SqlLedger) -> None:
    random.seed(11)
    latencies = [random.lognormvariate(4, 1.5) for _ in range(301)]
    await enter(
        ledger,
        *(entry(f"r{place}", latency_ns=round(ms * 1e6)) for place, ms in enumerate(latencies)),
        *(entry(f"e{place}", latency_ns=10**12, estimated=True) for place in range(300)),
    )
    total, _ = await ledger.sums(ACME, *ALL, None)
    ordered = sorted(latencies)
    assert total.latency_p50_ms == pytest.approx(ordered[150], rel=0.0101)
    assert total.latency_p95_ms == pytest.approx(ordered[285], rel=0.0101)


async def test_entries_come_in_pages_newest_first_each_once(ledger: SqlLedger) -> None:
    await enter(ledger, *(entry(f"r{number}", settled_us=NOW_US + number // 3) for number in range(10)))
    found: list[str] = []
    before = None
    while page := await ledger.entries(ACME, "", before, 4):
        found += [one.reservation for one in page]
        before = Position(page[-1].settled_us, page[-1].reservation)
    assert found == [f"r{number}" for number in range(9, -1, -1)]


async def test_entries_of_one_request_are_found(ledger: SqlLedger) -> None:
    await enter(ledger, entry("r1"), entry("r2"), entry("g", GLOBEX, request_id="req_r1"))
    assert [one.reservation for one in await ledger.entries(ACME, "req_r1", None, 10)] == ["r1"]


async def test_a_deleted_tenant_is_found_by_its_entries(database: Database, ledger: SqlLedger) -> None:
    assert await ledger.find_tenant("acme") is None
    await enter(ledger, entry("r1"))
    assert await ledger.find_tenant("acme") == ACME
    moved = replace(ACME, organisation="new-org")
    async with database.write() as connection:
        await tenants.add(connection, moved, "pro")
    assert await ledger.find_tenant("acme") == moved
    assert await ledger.entries(moved, "", None, 10) == []
