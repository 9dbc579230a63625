"""The order of a pool's waiting calls, by the Python rules that the scripts follow."""

from collections import Counter
from dataclasses import replace

import pytest

from tenantry.quota.slot import (
    Answer,
    Call,
    Dropped,
    Gone,
    Granted,
    How,
    Kind,
    Late,
    News,
    PoolSettings,
    QueueTerms,
    TooLarge,
    Waiting,
)
from tenantry.quota.vtc import Queue

SECOND = 1_000_000
ONE_SEAT = PoolSettings(capacity=1)
# Nobody renews in most of these tests.
PATIENT = QueueTerms(lease_us=10**12, idle_us=10**12)


class Pool:
    """A queue on a clock that stands still until it is told, with tickets numbered by the tenant's calls."""

    def __init__(self, settings: PoolSettings = ONE_SEAT, terms: QueueTerms | None = None) -> None:
        self.settings = settings
        self.queue = Queue(terms or PATIENT, "first", "run-1")
        self.now_us = SECOND
        self.made = Counter[str]()

    def acquire(
        self,
        tenant: str,
        organisation: str = "",
        *,
        weight: int = 1,
        most: int = 1_000,
        priority: int = 0,
        tokens: tuple[int, int] = (10, 10),
        within_us: int = 0,
    ) -> Answer:
        self.made[tenant] += 1
        call = Call(
            f"{tenant}-{self.made[tenant]}",
            organisation or f"{tenant}-org",
            tenant,
            weight,
            most,
            priority,
            *tokens,
            within_us,
        )
        return self.queue.acquire(self.now_us, call, self.settings)

    def release(self, ticket: str, output: int = 10, how: How = How.OK, retry_us: int = 0) -> bool:
        tenant = ticket.rpartition("-")[0]
        return self.queue.release(self.now_us, ticket, tenant, output, how, retry_us, self.settings)

    def look(self, ticket: str) -> Answer:
        return self.queue.look(self.now_us, ticket, ticket.rpartition("-")[0], self.settings)

    @property
    def running(self) -> list[str]:
        return [name for name, ticket in self.queue.tickets.items() if ticket.granted_us]

    def serve(self, calls: int, took_us: int = SECOND, output: int = 10) -> Counter[str]:
        """End the running call that was granted first, so many times; whose calls these were."""
        served = Counter[str]()
        for _ in range(calls):
            ticket = min(self.running, key=lambda name: self.queue.tickets[name].granted_us)
            self.now_us += took_us
            served[ticket.rpartition("-")[0]] += 1
            assert self.release(ticket, output)
        return served


def backlog(pool: Pool, calls: int, weights: dict[str, int], organisation: str = "") -> None:
    for _ in range(calls):
        for tenant, weight in weights.items():
            pool.acquire(tenant, organisation, weight=weight)


def test_below_capacity_a_call_is_granted_at_once() -> None:
    pool = Pool(PoolSettings(capacity=2))
    assert pool.acquire("a") == Granted("first", pool.now_us + PATIENT.lease_us)
    assert isinstance(pool.acquire("b"), Granted)
    assert pool.acquire("c") == Waiting(1, 0)


def test_weights_of_1_to_4_are_served_1_to_4() -> None:
    pool = Pool()
    backlog(pool, 500, {"a": 1, "b": 2, "c": 3, "d": 4})
    served = pool.serve(1_000)
    assert [round(served[name] / 100, 1) for name in "abcd"] == [1.0, 2.0, 3.0, 4.0]


def test_a_tenant_with_long_answers_gets_as_much_service_and_so_fewer_calls() -> None:
    pool = Pool()
    backlog(pool, 400, {"short": 1, "long": 1})
    service = Counter[str]()
    for _ in range(300):
        [ticket] = pool.running
        tenant, output = ticket.rpartition("-")[0], 10 if ticket.startswith("short") else 50
        service[tenant] += 10 + 2 * output
        pool.now_us += SECOND
        pool.release(ticket, output)
    assert abs(service["short"] - service["long"]) <= 2 * 110


def test_many_tenants_of_one_organisation_gain_nothing() -> None:
    pool = Pool()
    backlog(pool, 200, {"alone": 1}, "alone-org")
    backlog(pool, 50, {f"sybil{number}": 1 for number in range(9)}, "many-org")
    served = pool.serve(200)
    assert abs(served["alone"] - 100) <= 1
    sybils = [calls for tenant, calls in served.items() if tenant != "alone"]
    assert len(sybils) == 9 and max(sybils) - min(sybils) <= 1


def test_one_that_was_idle_is_lifted_and_has_no_credit() -> None:
    pool = Pool()
    backlog(pool, 200, {"busy": 1})
    pool.serve(100)
    backlog(pool, 50, {"late": 1})
    served = pool.serve(40)
    assert abs(served["late"] - served["busy"]) <= 2


def test_when_nobody_waits_a_newcomer_is_lifted_to_the_one_that_stopped_waiting_last() -> None:
    pool = Pool(PoolSettings(capacity=4))
    for _ in range(3):
        pool.acquire("busy")
    pool.queue.renew(pool.now_us, "busy-1", "busy", 500, pool.settings)
    pool.acquire("new")
    assert pool.queue.tenants["new"].counter == 10
    assert pool.queue.organisations["new-org"].counter == pool.queue.organisations["busy-org"].counter + 10


def test_output_is_charged_as_it_streams_and_corrected_at_the_end() -> None:
    pool = Pool()
    pool.acquire("a", weight=3)
    counter = pool.queue.tenants["a"]
    assert (counter.counter, counter.rest) == (3, 1)
    pool.queue.renew(pool.now_us, "a-1", "a", 100, pool.settings)
    pool.queue.renew(pool.now_us, "a-1", "a", 90, pool.settings)
    assert (counter.counter, counter.rest) == (70, 0)
    pool.release("a-1", 70)
    assert (counter.counter, counter.rest) == (50, 0)
    assert pool.queue.organisations["a-org"].counter == 50


def test_a_tenant_at_its_own_limit_is_parked_and_blocks_nobody() -> None:
    pool = Pool(PoolSettings(capacity=3))
    for _ in range(4):
        pool.acquire("small", most=1)
    assert isinstance(pool.acquire("other"), Granted)
    assert pool.queue.ready == set()
    assert pool.release("small-1")
    assert isinstance(pool.look("small-2"), Granted)
    pool.now_us += SECOND
    pool.release("small-2")
    assert pool.look("small-4") == Waiting(1, SECOND // 2)


def test_of_one_tenant_the_higher_priority_goes_first_then_the_earlier() -> None:
    pool = Pool()
    for priority in (0, 0, 1, 9, 1):
        pool.acquire("a", priority=priority)
    order = list[str]()
    for _ in range(4):
        [ticket] = pool.running
        pool.release(ticket)
        order += pool.running
    assert order == ["a-4", "a-3", "a-5", "a-2"]


def test_of_a_full_queue_the_longest_weighted_backlog_loses_its_last_call() -> None:
    pool = Pool(replace(ONE_SEAT, most_waiting=7))
    pool.acquire("running")
    backlog(pool, 4, {"heavy": 4})
    backlog(pool, 3, {"light": 1})
    assert pool.acquire("new") == Waiting(1, 0)
    assert pool.queue.news == [News("light-3", False)]
    assert pool.look("light-3") == Dropped()
    assert pool.acquire("light") == Dropped()
    assert pool.queue.waiting == 7


def test_of_an_organisation_that_fills_the_queue_the_longest_tenant_loses() -> None:
    pool = Pool(replace(ONE_SEAT, most_waiting=6))
    pool.acquire("running")
    backlog(pool, 1, {"x1": 1, "x2": 1, "x3": 1}, "x")
    pool.acquire("x2", "x")
    backlog(pool, 2, {"y": 1})
    assert pool.acquire("z") == Waiting(1, 0)
    assert pool.queue.news == [News("x2-2", False)]


def test_what_can_not_begin_before_its_deadline_is_refused_with_the_expected_wait() -> None:
    pool = Pool(PoolSettings(capacity=2))
    backlog(pool, 6, {"a": 1})
    pool.now_us += 2 * SECOND
    pool.release("a-1")
    pool.release("a-2")
    # Two run and two wait; two seats of two seconds each give one every second.
    assert pool.acquire("a", within_us=2 * SECOND) == Late(3 * SECOND)
    assert pool.acquire("b", within_us=2 * SECOND) == Waiting(1, 2 * SECOND)
    assert pool.queue.waiting == 3


def test_a_call_whose_deadline_comes_leaves_the_queue() -> None:
    pool = Pool()
    pool.acquire("a")
    pool.acquire("b", within_us=SECOND)
    pool.now_us += SECOND
    assert pool.queue.sweep(pool.now_us, pool.settings, 10) == 1
    assert pool.look("b-1") == Gone()
    assert pool.queue.waiting == 0


def test_tokens_in_flight_are_never_more_than_the_pool_and_a_large_call_keeps_its_turn() -> None:
    pool = Pool(PoolSettings(Kind.TOKENS, capacity=100))
    pool.acquire("a", tokens=(50, 20))
    assert isinstance(pool.acquire("b", tokens=(50, 50)), Waiting)
    assert isinstance(pool.acquire("c", tokens=(5, 5)), Waiting)
    assert pool.acquire("d", tokens=(50, 51)) == TooLarge()
    pool.release("a-1")
    assert pool.running == ["b-1"]
    pool.release("b-1")
    assert pool.running == ["c-1"]


def test_a_lease_that_nobody_renews_ends_and_its_seat_goes_to_the_next() -> None:
    terms = QueueTerms()
    pool = Pool(terms=terms)
    pool.acquire("a")
    pool.now_us += terms.lease_us // 2
    pool.acquire("b")
    assert pool.queue.renew(pool.now_us, "b-1", "b", 0, pool.settings) == pool.now_us + terms.lease_us
    pool.now_us += terms.lease_us // 2
    pool.queue.sweep(pool.now_us, pool.settings, 10)
    assert pool.running == ["b-1"]
    assert not pool.release("a-1")
    assert pool.queue.renew(pool.now_us, "a-1", "a", 0, pool.settings) == 0


def test_another_tenants_ticket_is_as_unknown_as_none() -> None:
    pool = Pool()
    pool.acquire("a")
    assert pool.queue.look(pool.now_us, "a-1", "b", pool.settings) == Gone()
    assert pool.queue.renew(pool.now_us, "a-1", "b", 9, pool.settings) == 0
    assert not pool.queue.release(pool.now_us, "a-1", "b", 9, How.OK, 0, pool.settings)
    call = Call("a-1", "b-org", "b", 1, 9, 0, 1, 1)
    assert pool.queue.attach(pool.now_us, call, 0, Granted("another", pool.now_us + SECOND), pool.settings) == Gone()
    assert pool.running == ["a-1"]


def test_the_same_ticket_again_takes_nothing_more() -> None:
    pool = Pool(PoolSettings(capacity=2))
    first = pool.acquire("a")
    pool.made["a"] = 0
    assert pool.acquire("a") == first
    assert pool.queue.used == 1


@pytest.mark.parametrize(
    ("epoch", "ends_in_us", "counted"), [("lost", 1, True), ("lost", 0, False), ("first", 1, False)]
)
def test_only_a_lease_of_another_epoch_within_its_end_is_counted_again(
    epoch: str, ends_in_us: int, counted: bool
) -> None:
    pool = Pool()
    pool.acquire("other")
    call = Call("a-1", "a-org", "a", 1, 9, 0, 10, 10)
    lease = Granted(epoch, pool.now_us + ends_in_us)
    for _ in range(2):
        answer = pool.queue.attach(pool.now_us, call, 40, lease, pool.settings)
        assert isinstance(answer, Granted) == counted
    assert pool.queue.used == 1 + int(counted)


def test_another_run_of_redis_begins_another_epoch() -> None:
    pool = Pool()
    pool.queue.fence("run-1", "second")
    assert pool.queue.epoch == "first"
    pool.queue.fence("run-2", "second")
    assert pool.queue.epoch == "second"


def test_a_pool_that_follows_its_provider_is_halved_once_a_flight_and_grows_with_success() -> None:
    pool = Pool(PoolSettings(capacity=8, adaptive=True))
    backlog(pool, 40, {"a": 1})
    for ticket in pool.running[:3]:
        pool.now_us += 1
        pool.release(ticket, how=How.THROTTLED)
    assert (pool.queue.room.limit, len(pool.running)) == (4, 5)
    pool.serve(2)
    assert len(pool.running) == 4
    pool.serve(2)
    assert pool.queue.room.limit == 5
    pool.serve(5 + 6 + 7)
    assert pool.queue.room.limit == 0
    assert len(pool.running) == 8


def test_a_retry_after_holds_grants_back_until_then() -> None:
    pool = Pool(PoolSettings(capacity=1, adaptive=True))
    backlog(pool, 2, {"a": 1})
    pool.release("a-1", 0, How.THROTTLED, 3 * SECOND)
    assert pool.running == []
    pool.now_us += 3 * SECOND
    pool.queue.sweep(pool.now_us, pool.settings, 10)
    assert pool.running == ["a-2"]


def test_an_idle_tenant_is_forgotten_with_its_organisation_and_then_the_pool() -> None:
    terms = QueueTerms()
    pool = Pool(terms=terms)
    pool.acquire("a", "org")
    pool.acquire("b", "org")
    pool.release("a-1")
    pool.release("b-1")
    pool.now_us += terms.idle_us
    pool.queue.sweep(pool.now_us, pool.settings, 10)
    assert (pool.queue.tenants, pool.queue.organisations, pool.queue.ends) == ({}, {}, {})
    assert pool.queue == Queue(terms)


def test_a_weight_that_changes_counts_from_the_next_call() -> None:
    pool = Pool()
    backlog(pool, 200, {"a": 1, "b": 1})
    pool.serve(20)
    pool.acquire("b", weight=3)
    served = pool.serve(100)
    assert 72 <= served["b"] <= 78
    assert pool.queue.weights == 4_000
