"""Entries in Redis: one script call for each method. `state.lua` says what is stored."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from importlib import resources
from typing import Any

from tenantry.cache import keys
from tenantry.cache.entry import Abandoned, Entry, Found, Full, Lead, Stats, Terms, Wait
from tenantry.kit.errors import StoreUnavailable
from tenantry.kit.owner import Tenant
from tenantry.kit.redis import Arg, Redis, Script

# A cache that is slower than this is worse than none: a request goes on without it. After that nobody asks for a while.
ANSWER_S = 0.5
PAUSE_S = 1.0
_DIGITS = 19


def _script(name: str) -> Script:
    folder = resources.files("tenantry.cache").joinpath("scripts")
    state, own = (folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("state", name))
    return Script(name, f"#!lua\n{state}\n{own}")


LOOK_UP, LOOK_AGAIN, SAVE, RENEW, ABANDON, STATS = (
    _script(name) for name in ("look_up", "look_again", "save", "renew", "abandon", "stats")
)


class RedisEntries:
    """Entries on one Redis."""

    def __init__(self, redis: Redis, terms: Terms) -> None:
        self._redis = redis
        self._terms = (terms.flight_ms, terms.place_ms, terms.most_waiting)
        self._paused_until = 0.0

    async def look_up(self, owner: Tenant, scope: str, handle: str, least_epoch: int, *, refuse: bool = False) -> Found:
        return _found(await self._run(LOOK_UP, owner, scope, handle, least_epoch, int(refuse)))

    async def look_again(self, owner: Tenant, scope: str, handles: Sequence[str], *, refuse: bool = False) -> Found:
        return _found(await self._run(LOOK_AGAIN, owner, scope, int(refuse), *handles))

    async def save(self, owner: Tenant, scope: str, handle: str, entry: Entry, ttl_ms: int) -> bool:
        args = (handle, entry.mac, entry.documents_epoch, entry.answer, ttl_ms)
        return await self._run(SAVE, owner, scope, *args) == 1

    async def renew(self, owner: Tenant, scope: str, handle: str) -> tuple[int, int] | None:
        match await self._run(RENEW, owner, scope, handle):
            case [ends_ms, waiting]:
                return ends_ms, waiting
            case _:
                return None

    async def abandon(self, owner: Tenant, scope: str, handle: str, keep_if_awaited: bool) -> Abandoned:
        abandoned, waiting = await self._run(ABANDON, owner, scope, handle, int(keep_if_awaited))
        return Abandoned(abandoned == 1, waiting)

    async def forget(self, owner: Tenant, *, stats: bool) -> bool:
        # Without a generation no entry is of the right one; the next look-up makes another. So one DEL is the whole step.
        generation, counters = keys.tenant_keys(owner)
        return await self._in_time("DEL", generation, *((counters,) if stats else ())) > 0

    async def stats(self, owner: Tenant) -> Stats:
        return Stats(*(_number(text, 0) for text in await self._run(STATS, owner, "")))

    async def _run(self, script: Script, owner: Tenant, scope: str, *args: Arg) -> Any:
        fixed = (*self._terms, secrets.token_hex(16))
        return await self._in_time(script, keys.scope_keys(owner, scope), (*fixed, *args))

    async def _in_time(self, what: Script | str, *args: Any) -> Any:
        """The answer, or StoreUnavailable soon. The connection survives that nobody waits any more for an answer."""
        if time.monotonic() < self._paused_until:
            raise StoreUnavailable("cache")
        call = self._redis.run(what, *args) if isinstance(what, Script) else self._redis.execute(what, *args)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await call
        except TimeoutError:
            self._paused_until = time.monotonic() + PAUSE_S
            raise StoreUnavailable("cache") from None


def _found(reply: Any) -> Found:
    match reply:
        case [b"entry", mac, epoch, answer]:
            return Entry(answer, _number(epoch, -1), mac)
        case [b"lead", handle, ends_ms]:
            return Lead(handle.decode(), ends_ms)
        case [b"wait", handle]:
            return Wait(handle.decode())
        case _:
            return Full()


def _number(text: bytes | None, otherwise: int) -> int:
    """A number that we wrote, or `otherwise` for what is none: others may have written it."""
    return int(text) if text is not None and len(text) <= _DIGITS and text.isdigit() else otherwise
