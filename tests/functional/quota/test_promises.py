"""What limits promise while replicas are killed at any moment and their clocks are 5 s apart: on one Redis 7, and on a cluster
of three primaries and three replicas."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tenantry.kit.redis import connect
from tenantry.quota.holds import Terms
from tenantry.quota.presence import StandbyTerms
from tenantry.quota.settings import Settings
from tenantry.quota.settlements import SWEEP_EVERY_S
from tests.harness.killable import Killable
from tests.harness.poll import until
from tests.harness.quota_load import Limit, Load, Outcome
from tests.harness.redis_cluster import running_cluster

SKEWS_S = (0.0, 5.0, -5.0)
LIMIT = Limit(per_minute=6_000, burst=50)
TERMS = Terms(hold_us=2_500_000)
CALLERS = 1_000
KILLS = 3


@pytest.fixture(scope="module")
def cluster_books() -> Iterator[str]:
    with running_cluster() as cluster:
        yield cluster.url


@pytest.fixture(scope="module", params=["redis", "cluster"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What came of a thousand callers, some of whom went away, while replicas were killed and started again."""
    return asyncio.run(_suffer(request.getfixturevalue(f"{request.param}_books"), tmp_path_factory.mktemp("promises")))


async def _suffer(books: str, state: Path) -> Outcome:
    settings = Settings(
        books, f"sqlite:///{state}/quota.db", state / "quota.key", terms=TERMS, standby=StandbyTerms(len(SKEWS_S))
    )
    dice = random.Random(11)
    killed: list[Killable] = []

    def replica(place: int) -> Killable:
        return Killable(settings, state / str(place), SKEWS_S[place])

    async with AsyncExitStack() as stack:
        # The first alone, since it makes the database.
        replicas = [await asyncio.to_thread(replica, 0)]
        replicas += await asyncio.gather(*(asyncio.to_thread(replica, place) for place in (1, 2)))
        stack.callback(lambda: [one.kill() for one in replicas])
        load = Load([one.served for one in replicas], LIMIT, TERMS, leaving=0.1)
        await load.onboard()
        redis = connect(books, store="books")
        stack.push_async_callback(redis.close)
        watching = asyncio.create_task(load.watch_ends(redis))
        stack.callback(watching.cancel)
        async with load.running(CALLERS):
            for _ in range(KILLS):
                place, enough = dice.randrange(len(replicas)), len(load.outcome.admitted) + dice.randrange(20, 90)
                await until(lambda enough=enough: len(load.outcome.admitted) >= enough, within_s=20)
                await asyncio.to_thread(replicas[place].kill)
                killed.append(replicas[place])
                replicas[place] = await asyncio.to_thread(replica, place)
                load.replicas[place] = replicas[place].served

        async def no_hold_is_left() -> bool:
            return await load.holds() == 0

        await until(no_hold_is_left, within_s=TERMS.hold_us / 1e6 + SWEEP_EVERY_S + 3, every_s=0.2)
        outcome = await load.check()
        for one in (*replicas, *killed):
            await one.served.close()
        assert not watching.done()
    assert len(outcome.settled) - len(outcome.late) > KILLS * 20 and outcome.refused and outcome.left > 6
    print(
        "OUT",
        len(outcome.settled),
        len(outcome.late),
        len(outcome.cut),
        outcome.left,
        outcome.over,
        outcome.outlived_us,
        outcome.refused,
        outcome.unavailable,
    )
    return outcome


def test_in_no_interval_more_is_admitted_than_burst_and_rate_allow(outcome: Outcome) -> None:
    assert outcome.over <= 1e-6


def test_no_hold_outlives_its_term(outcome: Outcome) -> None:
    assert outcome.leaked == 0
    # The timer looks every so often; the rest is for a busy machine.
    assert outcome.outlived_us <= (SWEEP_EVERY_S + 3) * 1e6


def test_no_settled_usage_is_lost_doubled_or_altered(outcome: Outcome) -> None:
    assert (outcome.lost, outcome.doubled, outcome.wrong) == ([], [], [])


def test_calls_whose_caller_went_away_are_estimated_and_no_others(outcome: Outcome) -> None:
    assert set(outcome.renewed) <= set(outcome.estimated)
    assert not set(outcome.estimated) & outcome.settled.keys()


def test_replicas_whose_clocks_are_wrong_admit_in_the_time_of_the_books(outcome: Outcome) -> None:
    assert outcome.askew_us <= 0
