"""The worker of operations, on each kind of database, with services that a test directs."""

import asyncio
from collections import Counter

import pytest

from tenantry.kit import owner
from tenantry.kit.errors import Reason, Unavailable
from tenantry.kit.sql import Database
from tenantry.tenancy import onboarding as module
from tenantry.tenancy.onboarding import Onboarding
from tenantry.tenancy.operations import Operations
from tenantry.tenancy.organisations import Organisations
from tenantry.tenancy.records import Operation, Progress, TenantState, Tier
from tenantry.tenancy.store import PLATFORM
from tenantry.tenancy.store_sql import SqlStore
from tenantry.tenancy.tenants import NewTenant, Tenants
from tests.harness.clock import FrozenClock
from tests.harness.poll import until
from tests.harness.room import caller_of

OPERATOR = caller_of("", "", tier="", key_id="key_operator")
SERVICES = {"quota", "retrieval", "cache", "prompts", "models", "insight"}


class Services:
    """Counts what it is asked, fails where told to, and can hold an answer back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.failing: Counter[str] = Counter()
        self.held: dict[str, asyncio.Event] = {}

    async def provision(self, owner: owner.Tenant, service: str, tier: str) -> str:
        return await self._answer("provision", owner, service)

    async def deprovision(self, owner: owner.Tenant, service: str) -> str:
        return await self._answer("deprovision", owner, service)

    async def _answer(self, what: str, owner: owner.Tenant, service: str) -> str:
        self.asked.append((what, service, owner.id))
        if service in self.held:
            await self.held[service].wait()
        if self.failing[service] > 0:
            self.failing[service] -= 1
            raise Unavailable(Reason.SERVICE_UNAVAILABLE, f"the service `{service}` can't be reached")
        return f"{what} done"


class Town:
    """Everything around the worker."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.clock = FrozenClock()
        self.services = Services()
        self.worker = self.another_worker()
        self.tenants = Tenants(store, self.clock, lambda: None)
        self.operations = Operations(store, self.clock)

    def another_worker(self) -> Onboarding:
        return Onboarding(self.store, self.services, self.clock)

    async def create(self) -> Operation:
        await Organisations(self.store, self.clock).create(OPERATOR, "acme-org", "Acme")
        return await self.tenants.create(OPERATOR, NewTenant("acme", "acme-org", "Acme", Tier.PRO))

    async def state(self) -> TenantState:
        return (await self.tenants.get(OPERATOR, "acme")).state

    async def read(self, operation: Operation) -> Operation:
        return await self.operations.get(OPERATOR, operation.id)


@pytest.fixture
def town(store: SqlStore) -> Town:
    return Town(store)


async def test_a_tenant_is_active_when_every_service_has_answered(town: Town) -> None:
    operation = await town.create()
    assert await town.state() is TenantState.CREATING
    await town.worker.work_once()
    assert await town.state() is TenantState.ACTIVE
    ended = await town.read(operation)
    assert ended.state is Progress.DONE and ended.ended_ns is not None
    assert {(s.service, s.state, s.attempts, s.did) for s in ended.steps} == {
        (service, Progress.DONE, 1, "provision done") for service in SERVICES
    }
    assert sorted(town.services.asked) == sorted(("provision", service, "acme") for service in SERVICES)


async def test_a_service_that_is_away_holds_the_tenant_back_until_it_answers(town: Town) -> None:
    town.services.failing["cache"] = 2
    operation = await town.create()
    await town.worker.work_once()
    assert await town.state() is TenantState.CREATING
    cache = next(step for step in (await town.read(operation)).steps if step.service == "cache")
    assert (cache.state, cache.attempts) == (Progress.PENDING, 1)
    assert cache.error == "UNAVAILABLE: the service `cache` can't be reached"
    await town.worker.work_once()
    assert len(town.services.asked) == 6, "no attempt before its time"
    for _ in range(2):
        town.clock.advance(1.0)
        await town.worker.work_once()
    cache = next(step for step in (await town.read(operation)).steps if step.service == "cache")
    assert (cache.state, cache.attempts, cache.error) == (Progress.DONE, 3, "")
    assert await town.state() is TenantState.ACTIVE
    assert len(town.services.asked) == 8, "services that had answered are not asked again"


async def test_a_killed_worker_is_followed_by_one_that_goes_on_where_it_was(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIM_S", 0.3)
    town.services.held["models"] = asyncio.Event()
    operation = await town.create()
    killed = asyncio.create_task(town.worker.work_once())
    await until(lambda: _done_steps(town, operation, 5))
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    asked = len(town.services.asked)
    del town.services.held["models"]
    other = town.another_worker()

    async def ended() -> bool:
        await other.work_once()
        return await town.state() is TenantState.ACTIVE

    await until(ended)
    assert town.services.asked[asked:] == [("provision", "models", "acme")]
    models = next(step for step in (await town.read(operation)).steps if step.service == "models")
    assert models.attempts == 2


async def test_a_stopped_worker_gives_its_operation_back_at_once(town: Town) -> None:
    town.services.held["models"] = asyncio.Event()
    operation = await town.create()
    stopped = asyncio.create_task(town.worker.run())
    await until(lambda: _done_steps(town, operation, 5))
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)
    del town.services.held["models"]
    await town.another_worker().work_once()
    assert await town.state() is TenantState.ACTIVE


async def _done_steps(town: Town, operation: Operation, count: int) -> bool:
    return sum(step.state is Progress.DONE for step in (await town.read(operation)).steps) == count


async def test_two_workers_do_not_share_an_operation(town: Town) -> None:
    town.services.held["models"] = asyncio.Event()
    await town.create()
    first = asyncio.create_task(town.worker.work_once())
    await until(lambda: len(town.services.asked) == 6)
    await town.another_worker().work_once()
    assert len(town.services.asked) == 6
    town.services.held["models"].set()
    await first
    assert await town.state() is TenantState.ACTIVE


async def test_a_worker_whose_claim_has_ended_writes_nothing(town: Town, database: Database) -> None:
    town.services.held["models"] = asyncio.Event()
    operation = await town.create()
    paused = asyncio.create_task(town.worker.work_once())
    await until(lambda: _done_steps(town, operation, 5))
    async with town.store.write() as tx:  # as if its claim had ended and another worker had come
        await tx.operations.release(PLATFORM, operation.id, town.worker._worker)  # pyright: ignore[reportPrivateUsage]
        assert await tx.operations.claim(PLATFORM, operation.id, "another", 60.0)
    town.services.held["models"].set()
    await paused
    models = next(step for step in (await town.read(operation)).steps if step.service == "models")
    assert models.state is Progress.RUNNING
    assert await town.state() is TenantState.CREATING


async def test_a_deleted_tenant_is_gone_from_every_service_in_order(town: Town) -> None:
    await town.create()
    await town.worker.work_once()
    town.services.asked.clear()
    operation = await town.tenants.delete(OPERATOR, "acme")
    assert await town.state() is TenantState.DELETING
    await town.worker.work_once()
    assert await town.state() is TenantState.DELETED
    asked = [service for _, service, _ in town.services.asked]
    assert asked[0] == "quota" and asked[-1] == "insight" and set(asked) == SERVICES
    assert (await town.read(operation)).state is Progress.DONE
    assert (await town.tenants.get(OPERATOR, "acme")).display_name == "acme"


async def test_a_tenant_deleted_while_it_is_made_never_becomes_active(town: Town) -> None:
    town.services.failing["models"] = 1
    created = await town.create()
    await town.worker.work_once()
    deleted = await town.tenants.delete(OPERATOR, "acme")
    await town.worker.work_once()
    assert not any(what == "deprovision" for what, _, _ in town.services.asked), "the creation ends first"
    town.clock.advance(1.0)
    await town.worker.work_once()
    assert (await town.read(created)).state is Progress.DONE
    assert await town.state() is TenantState.DELETING
    await town.worker.work_once()
    assert (await town.read(deleted)).state is Progress.DONE
    assert await town.state() is TenantState.DELETED


async def test_a_watcher_sees_every_state_and_the_end(town: Town) -> None:
    town.services.failing["cache"] = 1
    operation = await town.create()
    seen: list[Operation] = []

    async def watch() -> None:
        async for state in town.operations.watch(OPERATOR, operation.id):
            seen.append(state)

    watching = asyncio.create_task(watch())
    await until(lambda: len(seen) == 1)
    for _ in range(2):
        await town.worker.work_once()
        town.clock.advance(1.0)
    await asyncio.wait_for(watching, 5)
    assert seen[0].state is Progress.PENDING and seen[-1].state is Progress.DONE
    assert [one.version for one in seen] == sorted({one.version for one in seen})
