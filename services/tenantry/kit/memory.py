"""A bounded read-through memory of rows, kept true by `kit.changes`; one load at a time for a key, however many ask."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tenantry.kit.clock import Clock, SystemClock

V = TypeVar("V")

MAX_AGE_S = 2.0


@dataclass(slots=True, eq=False)
class _Flight(Generic[V]):
    """A load under way. `stale` once its key was dropped: what it brings may be older than the change."""

    task: "asyncio.Task[V]"
    stale: bool = False


class Memory(Generic[V]):
    """Up to `size` values of one kind by their key, the least recently used forgotten first. A miss is a value: None."""

    def __init__(
        self,
        kind: str,
        load: Callable[[str], Awaitable[V]],
        size: int,
        *,
        max_age_s: float = MAX_AGE_S,
        clock: Clock | None = None,
    ) -> None:
        self.kind = kind
        self._load = load
        self._size = size
        self._max_age_s = max_age_s
        self._clock = clock or SystemClock()
        self._confirmed_at: float | None = None
        self._values: OrderedDict[str, V] = OrderedDict()
        self._flights: dict[str, _Flight[V]] = {}

    async def get(self, key: str) -> V:
        """The value that SQL has, or had when the change log was last read, which is at most `max_age_s` ago."""
        if self._is_fresh() and key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._fetch(key)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._landed(key, flight))
        # Shielded: the caller that started the load may go while others wait for it.
        return await asyncio.shield(flight.task)

    def peek(self, key: str) -> V | None:
        """What was remembered of the key, without a load: true only while `confirmed`."""
        return self._values.get(key)

    def drop(self, key: str) -> None:
        """Forget the key, and what a load under way brings for it. A writer calls it after its commit to see its own write."""
        self._values.pop(key, None)
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.stale = True

    def drop_all(self) -> None:
        """Forget everything, loads under way included."""
        self._values.clear()
        for flight in self._flights.values():
            flight.stale = True
        self._flights.clear()

    def confirm(self, asked_at: float) -> None:
        """What is remembered was true at this monotonic time."""
        self._confirmed_at = asked_at

    @property
    def confirmed(self) -> bool:
        """Whether answers may come from memory now."""
        return self._is_fresh()

    def __len__(self) -> int:
        return len(self._values)

    def _is_fresh(self) -> bool:
        return self._confirmed_at is not None and self._clock.monotonic() - self._confirmed_at <= self._max_age_s

    async def _fetch(self, key: str) -> V:
        return await self._load(key)

    def _landed(self, key: str, flight: _Flight[V]) -> None:
        if flight.stale:
            if not flight.task.cancelled():
                flight.task.exception()
            return
        del self._flights[key]
        if flight.task.cancelled() or flight.task.exception() is not None:
            return
        if self._is_fresh():
            self._values[key] = flight.task.result()
            self._values.move_to_end(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)
