"""The use cases of the cache: find, wait for, store and forget answers of a tenant."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from tenantry.cache import checks
from tenantry.cache.entry import Abandoned, Entry, Found, Full, Key, Stats, Terms
from tenantry.cache.scope import is_genuine, mac_of, scope_of
from tenantry.cache.store import Entries
from tenantry.cache.waiting import WaitingRoom
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Aborted, Reason, ResourceExhausted
from tenantry.kit.owner import Tenant

# More than this is hashed in a thread: a megabyte takes milliseconds.
_LONG_BYTES = 128 * 1024
_AGAIN_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Answers:
    """Answers by their scope. `readable` says whether an answer's bytes are one."""

    def __init__(
        self, store: Entries, secret: bytes, readable: Callable[[bytes], bool], clock: Clock, terms: Terms
    ) -> None:
        self._store = store
        self._secret = secret
        self._readable = readable
        self._waiting = WaitingRoom(self._look_again, self._give_up, clock, terms)

    async def look_up(self, owner: Tenant, viewer: Caller, key: Key, least_epoch: int) -> Found:
        """The answer, or the lead on it, or a place among those who wait."""
        scope = await self._scope(viewer, key)
        handle = secrets.token_hex(16)
        try:
            found = await self._store.look_up(owner, scope, handle, least_epoch)
            if not await self._holds(scope, found):
                found = await self._store.look_up(owner, scope, handle, least_epoch, refuse=True)
        except asyncio.CancelledError:
            self._waiting.leave(owner, scope, handle)  # it may lead by now, and nobody would know
            raise
        return _not_full(found)

    async def wait(self, owner: Tenant, viewer: Caller, key: Key, handle: str, within_s: float) -> Found:
        """The answer or the lead, as soon as there is one within this time."""
        checks.check_handle(handle)
        scope = await self._scope(viewer, key)
        return _not_full(await self._waiting.wait(owner, scope, handle, within_s))

    async def save(
        self, owner: Tenant, viewer: Caller, key: Key, handle: str, answer: bytes, documents_epoch: int, ttl_ms: int
    ) -> None:
        """Store the answer and end the flight; the same again changes nothing."""
        checks.check_handle(handle)
        checks.check_entry(documents_epoch, ttl_ms)
        scope = await self._scope(viewer, key)
        mac = await _hashed(len(answer), mac_of, self._secret, scope, answer, documents_epoch)
        if not await self._store.save(owner, scope, handle, Entry(answer, documents_epoch, mac), ttl_ms):
            raise _lost()
        self._waiting.wake(owner, scope)

    async def renew(self, owner: Tenant, viewer: Caller, key: Key, handle: str) -> tuple[int, int]:
        """The flight's new end (Unix ms) and how many wait."""
        checks.check_handle(handle)
        renewed = await self._store.renew(owner, await self._scope(viewer, key), handle)
        if renewed is None:
            raise _lost()
        return renewed

    async def abandon(
        self, owner: Tenant, viewer: Caller, key: Key, handle: str, *, keep_if_awaited: bool
    ) -> Abandoned:
        """End the flight without an answer, or keep it for those who wait. A flight that is lost has ended."""
        checks.check_handle(handle)
        scope = await self._scope(viewer, key)
        became = await self._store.abandon(owner, scope, handle, keep_if_awaited)
        self._waiting.wake(owner, scope)
        return became

    async def invalidate(self, owner: Tenant) -> None:
        """Serve nothing that was stored, or is being made, until now."""
        await self._store.forget(owner, stats=False)

    async def stats(self, owner: Tenant) -> Stats:
        """The tenant's counters."""
        return await self._store.stats(owner)

    async def provision(self, owner: Tenant, tier: str) -> str:
        """Nothing is needed: the verified caller says whose an entry is."""
        return "nothing to do"

    async def deprovision(self, owner: Tenant) -> str:
        """Make what the tenant had unreachable; it goes from memory when it expires."""
        return "dropped the cached answers" if await self._store.forget(owner, stats=True) else "nothing to do"

    async def close(self) -> None:
        """Wait for nobody any more."""
        await self._waiting.close()

    async def _scope(self, viewer: Caller, key: Key) -> str:
        return await _hashed(checks.check_key(key), scope_of, self._secret, viewer, key)

    async def _holds(self, scope: str, found: Found) -> bool:
        """False for an entry that is not what we stored, or that this version can't read."""
        if not isinstance(found, Entry):
            return True
        genuine = await _hashed(len(found.answer), is_genuine, self._secret, scope, found)
        return genuine and self._readable(found.answer)

    async def _look_again(self, owner: Tenant, scope: str, handles: Sequence[str]) -> Found:
        found = await self._store.look_again(owner, scope, handles)
        if not await self._holds(scope, found):
            return await self._store.look_again(owner, scope, handles, refuse=True)
        return found

    async def _give_up(self, owner: Tenant, scope: str, handle: str) -> None:
        await self._store.abandon(owner, scope, handle, keep_if_awaited=False)


async def _hashed(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    if size > _LONG_BYTES:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


def _not_full(found: Found) -> Found:
    if isinstance(found, Full):
        raise ResourceExhausted(
            Reason.SERVER_BUSY, "too many wait for the same answer; try again when it is there", retry_after_s=_AGAIN_S
        )
    return found


def _lost() -> Aborted:
    return Aborted(Reason.HANDLE_LOST, "the handle leads no flight any more; look the entry up again")
