"""What the fair queue needs of its stores. All raise StoreUnavailable (transient) or StoreFailed, and no driver's errors."""

from collections.abc import Sequence
from typing import Protocol

from tenantry.kit.owner import Platform, Pool
from tenantry.quota.slot import Answer, Call, Gone, Granted, How, News, PoolSettings, Row, Said, Use

# A call's ticket, its tenant, and the output tokens so far.
Progress = tuple[str, str, int]


class Queues(Protocol):
    """Pools' queues. Each method is one step that happens whole or not at all; `vtc.py` says what it does."""

    async def acquire(self, owner: Pool, call: Call, settings: PoolSettings) -> Said[Answer]:
        """Take a place, and with it the capacity if it is the call's turn; the same ticket again only asks."""
        ...

    async def release(
        self, owner: Pool, ticket: str, tenant: str, output_tokens: int, how: How, retry_us: int, settings: PoolSettings
    ) -> Said[bool]:
        """The call ended, or does not want its place any more; False if it is gone."""
        ...

    async def renew(self, owner: Pool, calls: Sequence[Progress], settings: PoolSettings) -> Said[Sequence[int]]:
        """Charge output and move the ends: the microsecond when each ends now, 0 for one that is gone."""
        ...

    async def attach(
        self, owner: Pool, call: Call, output_tokens: int, lease: Granted, settings: PoolSettings
    ) -> Said[Granted | Gone]:
        """Go on with a running call; one that the books have lost is counted again."""
        ...

    async def look(
        self, owner: Pool, calls: Sequence[tuple[str, str]], settings: PoolSettings
    ) -> Said[Sequence[Answer]]:
        """Where calls stand, by ticket and tenant."""
        ...

    async def sweep(self, owner: Pool, most: int, settings: PoolSettings) -> Said[int]:
        """Look at up to `most` things whose time has come; how many there were. A pool of which nothing is left is
        forgotten."""
        ...

    async def watch(self, owner: Pool, tenant: str, settings: PoolSettings) -> tuple[Use, Sequence[Row]]:
        """What runs and waits: of one tenant, or with "" of all, as many as a page holds, the longest backlogs first."""
        ...

    async def news(self, owner: Pool, after: str) -> tuple[str, Sequence[News]]:
        """What happened to waiting calls after this position, and the position of the last."""
        ...

    async def remember(self, owner: Pool) -> None:
        """The pool has a queue: whoever sweeps shall look at it until it is forgotten."""
        ...

    async def pools(self, owner: Platform, after: str, most: int) -> Sequence[Pool]:
        """Up to `most` pools that have a queue, in the order of their names, after this name."""
        ...

    async def due(self, owner: Platform) -> Sequence[Pool]:
        """The pools in which something has ended, or nothing is left."""
        ...


class PoolStore(Protocol):
    """Pools as operators set them."""

    async def find(self, name: str) -> tuple[PoolSettings, int]:
        """The setting and its version; the usual one and 0 when nobody set it."""
        ...

    async def list(self, after: str, most: int) -> Sequence[tuple[str, PoolSettings, int]]:
        """Up to `most` pools with their versions, in the order of their names, after this name."""
        ...

    async def put(self, owner: Pool, settings: PoolSettings, version: int) -> int:
        """Replace the setting that has this version, and give the new version. Aborted."""
        ...
