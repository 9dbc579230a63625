"""Those of this process who wait for an answer: one poll for each scope, however many wait for it.

No blocking command is sent: connections are shared. Between polls a store or an abandonment in this process wakes the poll
at once; what happens at another replica is seen at the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field

from tenantry.cache.entry import Entry, Found, Full, Lead, Terms, Wait
from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.kit.owner import Tenant

FIRST_POLL_S = 0.005
LAST_POLL_S = 0.05
_SLOWER = 1.5

LookAgain = Callable[[Tenant, str, Sequence[str]], Awaitable[Found]]
GiveUp = Callable[[Tenant, str, str], Awaitable[object]]


@dataclass(slots=True)
class _Watch:
    """One scope that somebody waits for: who, longest waiting first, and when their places were last kept."""

    owner: Tenant
    scope: str
    waiting: dict[str, "asyncio.Future[Found]"] = field(default_factory=dict[str, "asyncio.Future[Found]"])
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    keep_at: float = 0.0


class WaitingRoom:
    """Waits for answers. `look_again` asks the store, `give_up` tells it that a handle is not wanted any more."""

    def __init__(self, look_again: LookAgain, give_up: GiveUp, clock: Clock, terms: Terms) -> None:
        self._look_again = look_again
        self._give_up = give_up
        self._clock = clock
        self._most = terms.most_waiting
        self._keep_every_s = terms.place_ms / 3000
        self._watches: dict[tuple[Tenant, str], _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(self, owner: Tenant, scope: str, handle: str, within_s: float) -> Found:
        """The entry or the lead as soon as there is one; Wait when the time is up."""
        watch = self._watch(owner, scope)
        if len(watch.waiting) >= self._most and handle not in watch.waiting:
            return Full()
        future = asyncio.get_running_loop().create_future()
        earlier = watch.waiting.get(handle)
        if earlier is not None and not earlier.done():
            earlier.set_result(Wait(handle))  # the same call again, since its sender lost the first
        watch.waiting[handle] = future
        watch.keep_at = 0.0
        try:
            await asyncio.wait((future,), timeout=within_s)
        except asyncio.CancelledError:
            self.leave(owner, scope, handle)
            raise
        finally:
            if watch.waiting.get(handle) is future:
                del watch.waiting[handle]
        return future.result() if future.done() else Wait(handle)

    def wake(self, owner: Tenant, scope: str) -> None:
        """Something happened to this scope: look at once."""
        watch = self._watches.get((owner, scope))
        if watch is not None:
            watch.woken.set()

    def leave(self, owner: Tenant, scope: str, handle: str) -> None:
        """Nobody is there any more who wants the place or the lead of this handle: give it up, without waiting for that."""
        self._start(self._given_up(owner, scope, handle))

    async def close(self) -> None:
        """End all polls."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch(self, owner: Tenant, scope: str) -> _Watch:
        watch = self._watches.get((owner, scope))
        if watch is None:
            watch = self._watches[owner, scope] = _Watch(owner, scope)
            self._start(self._poll(watch))
        return watch

    async def _poll(self, watch: _Watch) -> None:
        pause_s = FIRST_POLL_S
        try:
            # Whoever opened the watch enters it before this begins.
            while watch.waiting:
                watch.woken.clear()
                found = await self._look_again(watch.owner, watch.scope, self._handles(watch))
                if isinstance(found, Lead):
                    self._hand_over(watch, found)
                elif isinstance(found, Entry):
                    _tell_all(watch, found)
                    return
                pause_s = FIRST_POLL_S if await self._woken(watch, pause_s) else min(pause_s * _SLOWER, LAST_POLL_S)
        except Exception as error:  # each who waits raises it in its own call, where it is reported
            for future in watch.waiting.values():
                if not future.done():
                    future.set_exception(error)
        finally:
            del self._watches[watch.owner, watch.scope]

    def _handles(self, watch: _Watch) -> list[str]:
        """All whose places are to be kept when that is due; otherwise the one who would lead."""
        now = self._clock.monotonic()
        if now < watch.keep_at:
            return [next(iter(watch.waiting))]
        watch.keep_at = now + self._keep_every_s
        return list(watch.waiting)

    def _hand_over(self, watch: _Watch, lead: Lead) -> None:
        future = watch.waiting.pop(lead.handle, None)
        if future is not None and not future.done():
            future.set_result(lead)
        else:  # it went while the store was asked
            self.leave(watch.owner, watch.scope, lead.handle)

    async def _woken(self, watch: _Watch, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await watch.woken.wait()
        except TimeoutError:
            return False
        return True

    async def _given_up(self, owner: Tenant, scope: str, handle: str) -> None:
        try:
            await self._give_up(owner, scope, handle)
        except TenantryError:
            return  # the place or the flight lapses by itself
        self.wake(owner, scope)

    def _start(self, work: "Awaitable[None]") -> None:
        # In a context of its own: it is nobody's call, and outlives the one that it begins in.
        task = asyncio.get_running_loop().create_task(_run(work), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _run(work: Awaitable[None]) -> None:
    await work


def _tell_all(watch: _Watch, found: Found) -> None:
    for future in watch.waiting.values():
        if not future.done():
            future.set_result(found)
