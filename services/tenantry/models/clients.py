"""The clients of one provider's SDK: one for each address and credential, the least recently used closed first."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tenantry.models.generation import Target


class Closable(Protocol):
    """What every SDK's client has."""

    async def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


@dataclass(slots=True, eq=False)
class _Kept(Generic[C]):
    """A client, how many calls use it now, and whether it is to be closed when none does."""

    client: C
    users: int = 0
    retired: bool = False


class Clients(Generic[C]):
    """Keeps up to `size` clients. Making one may take seconds, since it imports the SDK: it is done in a thread."""

    def __init__(self, make: Callable[[Target], C], size: int) -> None:
        self._make = make
        self._size = size
        self._kept: OrderedDict[tuple[str, str], _Kept[C]] = OrderedDict()
        self._making = asyncio.Lock()

    @asynccontextmanager
    async def lease(self, target: Target) -> AsyncGenerator[C, None]:
        """The target's client, which stays open while the block runs."""
        key = (target.base_url, target.credential)
        kept = self._kept.get(key)
        while kept is None or kept.retired:
            # Shielded: a caller that has no more time leaves the client to the next.
            kept = await asyncio.shield(self._added(key, target))
        self._kept.move_to_end(key)
        kept.users += 1
        try:
            yield kept.client
        finally:
            kept.users -= 1
            if kept.retired and not kept.users:
                await kept.client.close()

    async def close(self) -> None:
        """Closes all clients."""
        for kept in self._kept.values():
            await kept.client.close()
        self._kept.clear()

    def _added(self, key: tuple[str, str], target: Target) -> "asyncio.Task[_Kept[C]]":
        making = asyncio.create_task(self._add(key, target))
        # Its error is told to whoever waits; when nobody does any more, it is not to be complained of.
        making.add_done_callback(lambda task: task.cancelled() or task.exception())
        return making

    async def _add(self, key: tuple[str, str], target: Target) -> _Kept[C]:
        async with self._making:
            if key not in self._kept:
                self._kept[key] = _Kept(await asyncio.to_thread(self._make, target))
                while len(self._kept) > self._size:
                    await self._retire(self._kept.popitem(last=False)[1])
            return self._kept[key]

    async def _retire(self, kept: _Kept[C]) -> None:
        kept.retired = True
        if not kept.users:
            await kept.client.close()
