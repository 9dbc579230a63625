"""The bounded read-through memory, without SQL."""

import asyncio

import pytest

from tenantry.kit.memory import Memory
from tests.harness.clock import FrozenClock
from tests.harness.poll import until


class Source:
    """A table in a dict that counts its readers and can be held up."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.loads: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def load(self, key: str) -> str | None:
        self.loads.append(key)
        row = self.rows.get(key)
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return row


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
def memory(source: Source, clock: FrozenClock) -> Memory[str | None]:
    memory = Memory("tenant", source.load, 3, max_age_s=2.0, clock=clock)
    memory.confirm(clock.monotonic())
    return memory


async def test_a_value_is_loaded_once(memory: Memory[str | None], source: Source) -> None:
    source.rows["acme"] = "free"
    assert [await memory.get("acme") for _ in range(3)] == ["free"] * 3
    assert source.loads == ["acme"]


async def test_a_miss_is_remembered_and_dropped_like_a_value(memory: Memory[str | None], source: Source) -> None:
    assert [await memory.get("acme") for _ in range(2)] == [None, None]
    source.rows["acme"] = "free"
    memory.drop("acme")
    assert await memory.get("acme") == "free"
    assert source.loads == ["acme", "acme"]


async def test_many_who_ask_at_once_share_one_load(memory: Memory[str | None], source: Source) -> None:
    source.rows["acme"] = "free"
    source.open.clear()
    asking = [asyncio.create_task(memory.get("acme")) for _ in range(20)]
    await until(lambda: bool(source.loads))
    source.open.set()
    assert set(await asyncio.gather(*asking)) == {"free"}
    assert source.loads == ["acme"]


async def test_a_load_that_raced_a_change_is_not_remembered(memory: Memory[str | None], source: Source) -> None:
    source.rows["acme"] = "old"
    source.open.clear()
    early = asyncio.create_task(memory.get("acme"))
    await until(lambda: bool(source.loads))
    source.rows["acme"] = "new"
    memory.drop("acme")
    late = asyncio.create_task(memory.get("acme"))  # asks after the change: must not join the load that began before it
    await until(lambda: len(source.loads) == 2)
    source.open.set()
    assert (await early, await late) == ("old", "new")
    assert await memory.get("acme") == "new"
    assert len(source.loads) == 2


async def test_dropping_everything_reaches_loads_under_way(memory: Memory[str | None], source: Source) -> None:
    source.rows["acme"] = "old"
    source.open.clear()
    early = asyncio.create_task(memory.get("acme"))
    await until(lambda: bool(source.loads))
    source.rows["acme"] = "new"
    memory.drop_all()
    source.open.set()
    await early
    assert await memory.get("acme") == "new"


async def test_the_least_recently_used_is_forgotten_first(memory: Memory[str | None], source: Source) -> None:
    for key in ("a", "b", "c", "a", "d"):
        await memory.get(key)
    assert len(memory) == 3
    source.loads.clear()
    for key in ("a", "c", "d", "b"):
        await memory.get(key)
    assert source.loads == ["b"]


async def test_a_failed_load_reaches_all_who_wait_and_is_not_remembered(
    memory: Memory[str | None], source: Source
) -> None:
    source.fault = RuntimeError("away")
    answers = await asyncio.gather(*(memory.get("acme") for _ in range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["away"] * 3
    source.fault = None
    source.rows["acme"] = "free"
    assert await memory.get("acme") == "free"


async def test_a_caller_that_goes_does_not_take_the_load_from_the_others(
    memory: Memory[str | None], source: Source
) -> None:
    source.rows["acme"] = "free"
    source.open.clear()
    first, second = asyncio.create_task(memory.get("acme")), asyncio.create_task(memory.get("acme"))
    await until(lambda: bool(source.loads))
    first.cancel()
    await asyncio.wait([first])
    source.open.set()
    assert await second == "free"
    assert source.loads == ["acme"]


async def test_nothing_is_remembered_before_the_first_confirmation(source: Source, clock: FrozenClock) -> None:
    memory = Memory("tenant", source.load, 3, clock=clock)
    await memory.get("acme")
    await memory.get("acme")
    assert len(source.loads) == 2


async def test_without_confirmation_the_memory_asks_sql_and_with_sql_away_it_fails(
    memory: Memory[str | None], source: Source, clock: FrozenClock
) -> None:
    source.rows["acme"] = "free"
    await memory.get("acme")
    clock.advance(1.9)
    await memory.get("acme")
    assert len(source.loads) == 1
    clock.advance(0.2)
    source.rows["acme"] = "suspended"
    assert await memory.get("acme") == "suspended"
    source.fault = RuntimeError("away")
    with pytest.raises(RuntimeError):
        await memory.get("acme")
    memory.drop("acme")  # what the log tells when it can be read again
    memory.confirm(clock.monotonic())
    source.fault = None
    assert await memory.get("acme") == "suspended"
