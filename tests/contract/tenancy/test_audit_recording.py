"""What other services have to say for the audit logs, on each kind of database."""

import asyncio
from dataclasses import replace

import pytest

from tenantry.kit import owner
from tenantry.kit.audit import Record
from tenantry.kit.errors import InvalidArgument, PermissionDenied
from tenantry.tenancy import audit_chain
from tenantry.tenancy.audit_recording import AuditRecording
from tenantry.tenancy.records import AuditEvent, Organisation, Tenant, TenantState, Tier
from tenantry.tenancy.store import PLATFORM
from tenantry.tenancy.store_sql import SqlStore
from tests.harness.clock import FrozenClock

ACME = owner.Tenant("acme-org", "acme")
CHANGES = frozenset({"UpdatePrompt"})
CHANGE = Record("change_1", ACME, 7, "key_1", "UpdatePrompt", "greeting")


@pytest.fixture
async def recording(store: SqlStore, clock: FrozenClock) -> AuditRecording:
    async with store.write() as tx:
        await tx.organisations.insert(owner.Organisation("acme-org"), Organisation("acme-org", "Acme", 0))
        await tx.tenants.insert(ACME, Tenant("acme", "acme-org", "Acme", Tier.FREE, TenantState.ACTIVE, "op_1", 0))
    return AuditRecording(store, clock)


async def _events(store: SqlStore, whose: owner.Owner = ACME) -> tuple[AuditEvent, ...]:
    async with store.read() as tx:
        return await tx.audit.list_from(whose, 1, 1000)


async def test_a_record_enters_once_however_often_and_by_whichever_replica_it_comes(
    store: SqlStore, recording: AuditRecording
) -> None:
    batch = [CHANGE, replace(CHANGE, id="change_2")]
    entered = await asyncio.gather(*(recording.record("prompts", batch, CHANGES) for _ in range(4)))
    assert sorted(entered) == [0, 0, 0, 2]
    events = await _events(store)
    assert [(event.entry.action, event.entry.service) for event in events] == [("UpdatePrompt", "prompts")] * 2
    # Another service's record of the same id is another record.
    assert await recording.record("models", [CHANGE], CHANGES) == 1


async def test_a_log_takes_so_many_refusals_a_minute_and_says_how_many_more_there_were(
    store: SqlStore, recording: AuditRecording, clock: FrozenClock
) -> None:
    refusals = [
        replace(CHANGE, id=f"refused_{number}", action="GetPrompt", outcome="NOT_FOUND", count=2)
        for number in range(100)
    ]
    assert await recording.record("prompts", refusals, CHANGES) == 60
    # A change has a place at any time.
    assert await recording.record("prompts", [CHANGE], CHANGES) == 1
    clock.advance(60)
    assert await recording.record("prompts", [replace(refusals[0], id="refused_next")], CHANGES) == 1
    events = await _events(store)
    assert len(events) == 63
    assert (events[61].entry.action, events[61].entry.count) == ("Others", 80)
    assert audit_chain.first_broken("tenant:acme", events) is None


async def test_what_is_about_nobody_who_is_known_is_in_the_platforms_log(
    store: SqlStore, recording: AuditRecording
) -> None:
    strangers = [
        replace(CHANGE, id="change_1", whose=owner.Tenant("acme-org", "nobody")),
        replace(CHANGE, id="change_2", whose=owner.Tenant("globex-org", "acme")),
        replace(CHANGE, id="change_3", whose=owner.Organisation("nobody")),
    ]
    assert await recording.record("prompts", strangers, CHANGES) == 3
    assert len(await _events(store, PLATFORM)) == 3 and not await _events(store)


async def test_a_service_records_no_change_that_is_not_its_own(store: SqlStore, recording: AuditRecording) -> None:
    with pytest.raises(PermissionDenied):
        await recording.record("prompts", [CHANGE, replace(CHANGE, id="forged", action="CreateApiKey")], CHANGES)
    assert not await _events(store)


@pytest.mark.parametrize(
    "odd", [{"id": "x y"}, {"action": "Get\nPrompt"}, {"outcome": "ok"}, {"reason": "a b"}, {"count": 0}]
)
async def test_a_malformed_record_is_refused(recording: AuditRecording, odd: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        await recording.record("prompts", [replace(CHANGE, **odd)], CHANGES)  # pyright: ignore[reportArgumentType]


async def test_the_head_is_the_last_event(store: SqlStore, recording: AuditRecording) -> None:
    async with store.read() as tx:
        assert (await tx.audit.head(ACME)).number == 0
    await recording.record("prompts", [CHANGE], CHANGES)
    (event,) = await _events(store)
    async with store.read() as tx:
        head = await tx.audit.head(ACME)
    assert (head.log, head.number, head.hash) == ("tenant:acme", 1, event.hash)
