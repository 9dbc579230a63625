"""What cache needs of its store. All raise StoreUnavailable (transient) or StoreFailed, and no driver's errors."""

from collections.abc import Sequence
from typing import Protocol

from tenantry.cache.entry import Abandoned, Entry, Found, Stats
from tenantry.kit.owner import Tenant


class Entries(Protocol):
    """Entries, flights, and places of those who wait. Each method is one step that happens whole or not at all."""

    async def look_up(self, owner: Tenant, scope: str, handle: str, least_epoch: int, *, refuse: bool = False) -> Found:
        """The entry; else the lead or a place, under this handle, and count it. An entry under an epoch below the least
        is dropped, and any entry if it is to be refused."""
        ...

    async def look_again(self, owner: Tenant, scope: str, handles: Sequence[str], *, refuse: bool = False) -> Found:
        """The entry; else the lead for the first of these places; else keep all of them."""
        ...

    async def save(self, owner: Tenant, scope: str, handle: str, entry: Entry, ttl_ms: int) -> bool:
        """Store the entry and end the flight; False unless the flight is this handle's, or ended by the same call before."""
        ...

    async def renew(self, owner: Tenant, scope: str, handle: str) -> tuple[int, int] | None:
        """The flight's new end (Unix ms) and how many wait; None when the flight is not this handle's."""
        ...

    async def abandon(self, owner: Tenant, scope: str, handle: str, keep_if_awaited: bool) -> Abandoned:
        """End the flight if it is this handle's, unless it is to be kept; give up a place of this handle."""
        ...

    async def forget(self, owner: Tenant, *, stats: bool) -> bool:
        """Make all entries and flights of the tenant unreachable, with or without its counters; False if there was
        nothing."""
        ...

    async def stats(self, owner: Tenant) -> Stats:
        """The tenant's counters."""
        ...
