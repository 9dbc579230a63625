"""A pool's calls at this replica: one loop renews all their leases and places, charges their output, and hears who was
granted.

No blocking command is sent: connections are shared. A grant by this replica's own calls is heard at once, one by another's
with the next look at the pool's news, which comes the slower the longer nothing happened. News that is lost (the books keep
some thousand) is found out when waiting calls are looked at: once a second the thousand that were looked at longest ago.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextvars import Context
from itertools import islice
from typing import Any, TypeVar

from tenantry.kit.assertion import LONGEST_REQUEST_S
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Aborted, DeadlineExceeded, Reason, ResourceExhausted, StoreUnavailable, TenantryError
from tenantry.kit.owner import Pool
from tenantry.quota.slot import (
    Answer,
    Call,
    Dropped,
    Gone,
    Granted,
    How,
    Late,
    PoolSettings,
    QueueTerms,
    Said,
    TooLarge,
    Waiting,
)
from tenantry.quota.store_queue import Queues

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_POLL_S = 0.005
LAST_POLL_S = 0.05
_SLOWER = 1.5
# A message a second to each of ten thousand would leave no time to serve them.
LOOK_EVERY_S, MOST_LOOKS = 1.0, 1_000
CHARGE_EVERY_S = 0.2
REMEMBER_EVERY_S = 60.0
# How long calls go on waiting while the books are away, and how often they are tried meanwhile.
PATIENCE_S = 5.0
_AGAIN_S = 0.25
_CALLS_AT_ONCE = 100
# A herd that asks the books all at once stands before the releases that it waits for, and makes the books look away.
_ASKING_AT_ONCE = 64
# After this a script that was sent has run, or the books are away.
_AFTER_S = 1.0


class Slot:
    """One call's place as its stream sees it: only the newest state is kept, whether the client reads or not."""

    __slots__ = ("_changed", "_given", "call", "entered", "error", "output_tokens", "room", "state", "timer")

    def __init__(self, call: Call, room: "SlotRoom") -> None:
        self.call = call
        self.room = room
        self.state: Waiting | Granted | None = None
        self.error: TenantryError | None = None
        self.output_tokens = 0
        self.entered = False
        self.timer: asyncio.TimerHandle | None = None
        self._given: Waiting | Granted | None = None
        self._changed: asyncio.Future[None] | None = None

    def changed(self) -> "asyncio.Future[None]":
        """Done once there is another state than the one that was given last. A future, since a task a message costs more
        than the message."""
        self._changed = asyncio.get_running_loop().create_future()
        if self.error is not None or self.state != self._given:
            self._tell()
        return self._changed

    def take(self) -> Waiting | Granted | None:
        """The newest state, or None if it was given before; raises why there is none any more."""
        if self.error is not None:
            raise self.error
        if self.state == self._given:
            return None
        self._given = self.state
        return self.state

    def become(self, state: Waiting | Granted) -> None:
        if isinstance(state, Granted) and not isinstance(self.state, Granted):
            self.stop_timer()
            # No request lasts longer: a stream that says nothing and stays open keeps no seat for ever.
            self.timer = asyncio.get_running_loop().call_later(LONGEST_REQUEST_S, self.room.late, self)
        self.state = state
        self._tell()

    def fail(self, error: TenantryError) -> None:
        self.error = error
        if isinstance(error, ResourceExhausted):
            self.room.refused(self.call.tenant)
        self.stop_timer()
        self._tell()

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _tell(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class SlotRoom:
    """All calls of this replica that wait or run in one pool. `closed` is called when the last has gone; `refused` hears whose
    calls are."""

    def __init__(
        self,
        pool: Pool,
        queues: Queues,
        settings: Callable[[Pool], Awaitable[PoolSettings]],
        clock: Clock,
        terms: QueueTerms,
        closed: Callable[[Pool], None],
        refused: Callable[[str], None],
    ) -> None:
        self.pool = pool
        self.refused = refused
        self._queues = queues
        self._settings = settings
        self._clock = clock
        self._lease_us = terms.lease_us
        self._closed = closed
        self._slots: dict[str, Slot] = {}
        self._waiting: dict[str, Slot] = {}
        self._written: dict[str, Slot] = {}
        self._heard = ""
        self._looping = False
        self._abandoned = False
        self._woken = asyncio.Event()
        self._turns = asyncio.Semaphore(_ASKING_AT_ONCE)
        self._away_since: float | None = None
        self._remember_at = self._look_at = self._charge_at = 0.0
        self._renew_at = clock.monotonic() + terms.lease_us / 3_000_000
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(self, slot: Slot, lease: Granted | None = None) -> None:
        """Take a place for the call, or go on with its lease. Raises why not."""
        self._slots[slot.call.ticket] = slot
        if not self._looping:
            self._looping = True
            self.start(self._run())
        try:
            await self._ask(slot, lease)
        except asyncio.CancelledError:
            if self._forget(slot):
                self.start(self._release_later(slot.call))
            raise
        except TenantryError:
            self.leave(slot, None, How.FAILED, 0)
            raise
        slot.entered = True
        if slot.error is not None:
            raise slot.error

    def progress(self, slot: Slot, output_tokens: int) -> None:
        """So much was written until now."""
        if output_tokens > slot.output_tokens and slot.call.ticket in self._slots:
            slot.output_tokens = output_tokens
            if not self._written:
                self._charge_at = self._clock.monotonic() + CHARGE_EVERY_S
                self._woken.set()
            self._written[slot.call.ticket] = slot

    def leave(self, slot: Slot, output_tokens: int | None, how: How, retry_us: int) -> None:
        """The call has ended, or nobody wants its place any more: give it back, without waiting for that."""
        if self._forget(slot):
            told = slot.output_tokens if output_tokens is None else output_tokens
            self.start(self._release(slot.call, told, how, retry_us))

    def abandon(self) -> None:
        """This replica goes: leases stay for another one, and who waits is to ask there."""
        for slot in list(self._waiting.values()):
            self.leave(slot, None, How.FAILED, 0)
        self._abandoned = True
        self._slots.clear()
        self._written.clear()
        self._woken.set()

    def late(self, slot: Slot) -> None:
        """The time to begin, or to run, is over."""
        error = _refusal(self.pool, Late(slot.state.wait_us if isinstance(slot.state, Waiting) else 0))
        if isinstance(slot.state, Granted):
            error = DeadlineExceeded(message=f"the call ran for {LONGEST_REQUEST_S:g} s, longer than any request may")
        self.leave(slot, None, How.FAILED, 0)
        slot.fail(error)

    def hear(self, said: Said[Any]) -> None:
        """What a script did to waiting calls; those that are here know at once."""
        for news in said.news:
            slot = self._slots.get(news.ticket)
            if slot is not None:
                self._answer(slot, said.lease if news.granted else Dropped())

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: it is nobody's call, and outlives the one that it begins in.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the loop, and let releases that are under way end."""
        self.abandon()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = FIRST_POLL_S
        try:
            while self._slots:
                self._woken.clear()
                try:
                    heard = await self._turn(self._clock.monotonic())
                    self._away_since = None
                except TenantryError as error:
                    self._failed(error)
                    await self._clock.sleep(_AGAIN_S)
                    continue
                pause_s = FIRST_POLL_S if heard else min(pause_s * _SLOWER, LAST_POLL_S)
                await self._sleep(pause_s)
        finally:
            self._looping = False
            self._closed(self.pool)

    async def _turn(self, now: float) -> bool:
        """All that is due now; whether there was news."""
        settings = await self._settings(self.pool)
        if now >= self._remember_at:
            await self._queues.remember(self.pool)
            self._remember_at = now + REMEMBER_EVERY_S
        heard = bool(self._waiting) and await self._read_news(settings)
        if now >= self._renew_at:
            await self._renew(self._slots.values(), settings, moved=True)
            self._renew_at = now + self._lease_us / 3_000_000
        elif self._written and now >= self._charge_at:
            await self._renew(self._written.values(), settings, moved=False)
        if self._waiting and now >= self._look_at:
            self.hear(await self._queues.sweep(self.pool, _CALLS_AT_ONCE, settings))
            await self._look(list(islice(self._waiting.values(), MOST_LOOKS)), settings)
            self._look_at = now + LOOK_EVERY_S
        return heard

    async def _sleep(self, pause_s: float) -> None:
        if not self._waiting:
            now = self._clock.monotonic()
            pause_s = max(pause_s, min(self._renew_at, self._charge_at if self._written else self._renew_at) - now)
        try:
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _ask(self, slot: Slot, lease: Granted | None) -> None:
        settings = await self._settings(self.pool)
        if lease is None:
            async with self._turns:
                said: Said[Any] = await self._queues.acquire(self.pool, slot.call, settings)
            if not self._waiting:
                self._heard = f"{said.now_us // 1000 - 1}-0"
                self._woken.set()
        else:
            said = await self._queues.attach(self.pool, slot.call, slot.output_tokens, lease, settings)
        self.hear(said)
        # The grant of a waiting call may be heard before this answer, which is older then.
        if not (isinstance(said.answer, Waiting) and isinstance(slot.state, Granted)):
            self._answer(slot, said.answer)

    def _answer(self, slot: Slot, answer: Answer) -> None:
        ticket = slot.call.ticket
        if ticket not in self._slots:
            if isinstance(answer, Waiting | Granted) and not self._abandoned:
                self.start(self._release(slot.call, slot.output_tokens, How.FAILED, 0))
        elif isinstance(answer, Waiting):
            self._waiting.pop(ticket, None)  # to the end: who was looked at longest ago is the first
            self._waiting[ticket] = slot
            slot.become(answer)
        elif isinstance(answer, Granted):
            self._waiting.pop(ticket, None)
            slot.become(answer)
        else:
            self._forget(slot)
            slot.fail(_refusal(self.pool, answer))

    def _forget(self, slot: Slot) -> bool:
        ticket = slot.call.ticket
        self._waiting.pop(ticket, None)
        self._written.pop(ticket, None)
        slot.stop_timer()
        if self._slots.pop(ticket, None) is None:
            return False
        if not self._slots:
            self._woken.set()
        return True

    async def _read_news(self, settings: PoolSettings) -> bool:
        self._heard, found = await self._queues.news(self.pool, self._heard)
        granted = list[Slot]()
        for news in found:
            slot = self._waiting.get(news.ticket)
            if slot is not None and news.granted:
                granted.append(slot)
            elif slot is not None:
                self._answer(slot, Dropped())
        await self._look(granted, settings)
        return bool(granted)

    async def _look(self, slots: Sequence[Slot], settings: PoolSettings) -> None:
        for page in _pages(slots):
            asked = [(slot.call.ticket, slot.call.tenant) for slot in page]
            said = await self._queues.look(self.pool, asked, settings)
            for slot, answer in zip(page, said.answer, strict=True):
                if isinstance(answer, Gone):
                    await self._go_on(slot)
                elif not isinstance(slot.state, Granted):
                    self._answer(slot, answer)

    async def _renew(self, slots: Iterable[Slot], settings: PoolSettings, *, moved: bool) -> None:
        """Charge the output; when the ends are `moved` the clients are told."""
        for page in _pages([slot for slot in slots if slot.entered]):
            asked = [(slot.call.ticket, slot.call.tenant, slot.output_tokens) for slot in page]
            said = await self._queues.renew(self.pool, asked, settings)
            for slot, (ticket, _, charged), ends_us in zip(page, asked, said.answer, strict=True):
                if slot.output_tokens == charged:
                    self._written.pop(ticket, None)
                if ends_us == 0:
                    await self._go_on(slot)
                elif moved and isinstance(slot.state, Granted):
                    self._answer(slot, Granted(said.lease.epoch, ends_us))
        if self._written:
            self._charge_at = self._clock.monotonic() + CHARGE_EVERY_S

    async def _go_on(self, slot: Slot) -> None:
        """The books know nothing of the call: it has just left, or they were lost."""
        if slot.call.ticket in self._slots:
            await self._ask(slot, slot.state if isinstance(slot.state, Granted) else None)

    async def _release(self, call: Call, output_tokens: int, how: How, retry_us: int) -> None:
        try:
            ended = (call.ticket, call.tenant, output_tokens, how, retry_us)
            self.hear(await self._queues.release(self.pool, *ended, await self._settings(self.pool)))
        except TenantryError as error:
            log.warning("giving a place back failed, it ends by itself: %s", error.message)

    async def _release_later(self, call: Call) -> None:
        """The place may be taken this very moment, over another connection: it is given back once that is over."""
        await self._clock.sleep(_AFTER_S)
        await self._release(call, 0, How.FAILED, 0)

    def _failed(self, error: TenantryError) -> None:
        """Running calls go on until their leases end; waiting ones have patience for a while."""
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
            log.warning("the queue of a pool can't be looked at: %s", error.message)
        if not isinstance(error, StoreUnavailable) or now - self._away_since >= PATIENCE_S:
            for slot in list(self._waiting.values()):
                self._forget(slot)
                slot.fail(error)


def _pages(slots: Sequence[Slot]) -> Iterator[Sequence[Slot]]:
    for start in range(0, len(slots), _CALLS_AT_ONCE):
        yield slots[start : start + _CALLS_AT_ONCE]


def _refusal(pool: Pool, answer: Late | Dropped | TooLarge | Gone) -> TenantryError:
    match answer:
        case Late(wait_us):
            return ResourceExhausted(
                Reason.QUEUE_LATE,
                "the call's turn can't come before its deadline",
                retry_after_s=max(wait_us / 1_000_000, 1.0),
                pool=pool.name,
            )
        case Dropped(wait_us):
            return ResourceExhausted(
                Reason.QUEUE_FULL,
                "the queue is full, and the call was the last of the longest backlog",
                retry_after_s=max(wait_us / 1_000_000, 1.0),
                pool=pool.name,
            )
        case TooLarge():
            return ResourceExhausted(
                Reason.LARGER_THAN_LIMIT, "the call alone is larger than the pool's capacity", pool=pool.name
            )
        case Gone():
            return Aborted(Reason.HANDLE_LOST, "the lease has ended; the place is another call's")
