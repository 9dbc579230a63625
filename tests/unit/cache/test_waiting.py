"""Those who wait in one process: one poll for all, and nothing that is given to somebody who has gone stays given."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from tenantry.cache import waiting
from tenantry.cache.entry import Entry, Found, Full, Lead, Terms, Wait
from tenantry.cache.waiting import WaitingRoom
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import StoreUnavailable
from tenantry.kit.owner import Tenant
from tests.harness.poll import until

ACME = Tenant("acme-org", "acme")
ENTRY = Entry(b"answer", 1, b"mac")
LONG_S = 30.0


class Script:
    """A store that says what the test wants next."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.given_up: list[str] = []
        self.next: Found | Exception | None = None
        self.gate: asyncio.Event | None = None

    async def look_again(self, owner: Tenant, scope: str, handles: Sequence[str]) -> Found:
        self.asked.append(list(handles))
        if self.gate is not None:
            await self.gate.wait()
        found, self.next = self.next, self.next if isinstance(self.next, Entry) else None
        if isinstance(found, Exception):
            raise found
        return found or Wait(handles[0])

    async def give_up(self, owner: Tenant, scope: str, handle: str) -> None:
        self.given_up.append(handle)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def room(script: Script) -> AsyncIterator[WaitingRoom]:
    room = WaitingRoom(script.look_again, script.give_up, SystemClock(), Terms(most_waiting=3))
    yield room
    await room.close()
    assert not room._watches and not room._tasks


def start(room: WaitingRoom, handle: str, within_s: float = LONG_S) -> "asyncio.Task[Found]":
    return asyncio.create_task(room.wait(ACME, "scope", handle, within_s))


async def test_all_who_wait_share_one_poll_and_get_the_entry(room: WaitingRoom, script: Script) -> None:
    waits = [start(room, handle) for handle in "abc"]
    await until(lambda: ["a", "b", "c"] in script.asked)
    script.next = ENTRY
    assert await asyncio.gather(*waits) == [ENTRY] * 3
    assert not room._watches


async def test_the_poll_keeps_all_places_at_times_and_otherwise_names_the_first(
    room: WaitingRoom, script: Script
) -> None:
    waits = [start(room, handle) for handle in "ab"]
    await until(lambda: script.asked[-2:] == [["a"], ["a"]])
    assert script.asked[0] == ["a", "b"]
    script.next = ENTRY
    await asyncio.gather(*waits)


async def test_the_lead_goes_to_one_and_the_others_wait_on(room: WaitingRoom, script: Script) -> None:
    first, second = start(room, "a"), start(room, "b")
    script.next = Lead("a", 1)
    assert await first == Lead("a", 1)
    assert not second.done()
    script.next = ENTRY
    assert await second == ENTRY


async def test_a_lead_for_one_who_went_meanwhile_is_given_up(room: WaitingRoom, script: Script) -> None:
    script.gate = asyncio.Event()
    wait = start(room, "a")
    await until(lambda: bool(script.asked))
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    script.next = Lead("a", 1)
    script.gate.set()
    # Once for its place when it went, once more for the lead that came too late.
    await until(lambda: script.given_up == ["a", "a"])


async def test_a_lead_for_one_whose_time_ran_out_meanwhile_is_given_up(room: WaitingRoom, script: Script) -> None:
    script.gate = asyncio.Event()
    assert await room.wait(ACME, "scope", "a", 0.05) == Wait("a")
    assert script.given_up == []
    script.next = Lead("a", 1)
    script.gate.set()
    await until(lambda: script.given_up == ["a"])


async def test_one_who_was_cancelled_in_the_moment_of_leading_gives_it_up(room: WaitingRoom, script: Script) -> None:
    script.gate = asyncio.Event()
    wait = start(room, "a")
    await until(lambda: bool(script.asked))
    watch = next(iter(room._watches.values()))
    watch.waiting["a"].set_result(Lead("a", 1))
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    script.gate.set()
    await until(lambda: script.given_up == ["a"])


async def test_the_time_ends_with_wait(room: WaitingRoom) -> None:
    assert await room.wait(ACME, "scope", "a", 0.05) == Wait("a")
    assert await room.wait(ACME, "scope", "a", 0.0) == Wait("a")
    await until(lambda: not room._watches)


async def test_the_same_handle_again_takes_the_first_ones_place(room: WaitingRoom, script: Script) -> None:
    first = start(room, "a")
    await until(lambda: bool(script.asked))
    second = start(room, "a")
    assert await first == Wait("a")
    script.next = ENTRY
    assert await second == ENTRY


async def test_no_more_than_may_wait_do(room: WaitingRoom, script: Script) -> None:
    waits = [start(room, handle) for handle in "abc"]
    await until(lambda: bool(script.asked))
    assert await room.wait(ACME, "scope", "d", LONG_S) == Full()
    script.next = ENTRY
    await asyncio.gather(*waits)


@pytest.mark.parametrize("error", [StoreUnavailable("cache"), KeyError("a fault of ours")])
async def test_a_store_that_fails_ends_all_waits(room: WaitingRoom, script: Script, error: Exception) -> None:
    waits = [start(room, handle) for handle in "ab"]
    script.next = error
    for wait in waits:
        with pytest.raises(type(error)):
            await wait
    assert not room._watches


async def test_what_happens_in_this_process_is_looked_at_at_once(
    room: WaitingRoom, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST_POLL_S", LONG_S)
    monkeypatch.setattr(waiting, "LAST_POLL_S", LONG_S)
    wait = start(room, "a")
    await until(lambda: bool(script.asked))
    script.next = ENTRY
    room.wake(ACME, "scope")
    async with asyncio.timeout(5):
        assert await wait == ENTRY
