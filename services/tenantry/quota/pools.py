"""Pools as operators set them: what a pool's capacity is, and what its queue takes."""

from collections.abc import Awaitable, Callable, Sequence

from tenantry.kit import paging
from tenantry.kit.caller import Caller
from tenantry.kit.errors import InvalidArgument, PermissionDenied, Reason
from tenantry.kit.owner import Platform, Pool
from tenantry.quota.gcra import MOST_AMOUNT
from tenantry.quota.slot import PoolSettings
from tenantry.quota.store_queue import PoolStore

MOST_WEIGHT = 100
MOST_WAITING = 1_000_000
_LONGEST_NAME = 400


class Pools:
    """`find` gives a pool from the memory that `changed` drops it from; `in_use` up to so many pools that have a queue, after a
    name."""

    def __init__(
        self,
        store: PoolStore,
        find: Callable[[str], Awaitable[tuple[PoolSettings, int]]],
        changed: Callable[[str], None],
        in_use: Callable[[Platform, str, int], Awaitable[Sequence[Pool]]],
    ) -> None:
        self._store = store
        self._find = find
        self._changed = changed
        self._in_use = in_use

    async def settings(self, owner: Pool) -> PoolSettings:
        """The pool as it is set, from memory."""
        return (await self._find(owner.name))[0]

    async def list(
        self, caller: Caller, size: int, token: str, *, in_use: bool
    ) -> tuple[Sequence[tuple[str, PoolSettings, int]], str]:
        """A page of the pools that were set, or of those in use, and the token of the next."""
        _check_operator(caller)
        most = paging.size_of(size)
        position = paging.position_of(token, (str,))
        after = str(position[0]) if position else ""
        if in_use:
            used = await self._in_use(Platform(), after, most + 1)
            found = [(pool.name, *await self._find(pool.name)) for pool in used]
        else:
            found = await self._store.list(after, most + 1)
        page = found[:most]
        return page, paging.token_of(page[-1][0]) if len(found) > most else ""

    async def update(self, caller: Caller, name: str, settings: PoolSettings, version: int) -> int:
        """Set the pool: its new version."""
        _check_operator(caller)
        check_name(name, "pool.name")
        _check(settings, version)
        new = await self._store.put(Pool(name), settings, version)
        self._changed(name)
        return new


def check_name(name: str, field: str) -> str:
    """The name itself when a pool may have it."""
    if not name:
        raise InvalidArgument(field, "is missing")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidArgument(field, f"is not {_LONGEST_NAME} characters at most without control characters")
    return name


def _check_operator(caller: Caller) -> None:
    if caller.organisation or caller.tenant:
        raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, "pools are shared by all tenants; only an operator sets them")


def _check(settings: PoolSettings, version: int) -> None:
    ranges = (
        ("capacity", settings.capacity, 1, MOST_AMOUNT),
        ("input_weight", settings.input_weight, 1, MOST_WEIGHT),
        ("output_weight", settings.output_weight, 1, MOST_WEIGHT),
        ("most_waiting", settings.most_waiting, 0, MOST_WAITING),
        ("version", version, 0, 2**53),
    )
    wrong = [
        (f"pool.{field}", f"is not within {least} and {most}")
        for field, value, least, most in ranges
        if not least <= value <= most
    ]
    if wrong:
        raise InvalidArgument.many(wrong)
