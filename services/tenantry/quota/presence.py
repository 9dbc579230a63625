"""Whether the books that all replicas share are there, and for how long a replica may do without them.

Found out by calls: the first one that finds them away says so, and from then on nobody waits for them. They are back when a
write to them succeeds. Books that are there and full are not away: who fills them would get a second share.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, StoreUnavailable, Unavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class StandbyTerms:
    """By how many processes that serve quota a limit is shared while the books are away, and for how long at most."""

    replicas: int = 1
    most_s: float = 300.0


class BooksAway(StoreUnavailable):
    """The shared books are away: go on alone, or pass it on to who asked."""

    def __init__(self) -> None:
        super().__init__("books")


class Presence:
    """`probe` writes something to the books, or raises StoreUnavailable."""

    def __init__(self, probe: Callable[[], Awaitable[None]], clock: Clock, terms: StandbyTerms) -> None:
        self._probe = probe
        self._clock = clock
        self.terms = terms
        self._since: float | None = None

    @property
    def away(self) -> bool:
        return self._since is not None

    async def ask(self, books: Callable[[], Awaitable[T]]) -> T:
        """What the books answer. Raises BooksAway, and at once while it is known; of books that are there and only can't take
        it, what they said."""
        if self._since is not None:
            raise BooksAway
        try:
            return await books()
        except StoreUnavailable as error:
            if not error.away:
                raise
        self._left()
        raise BooksAway

    def _left(self) -> None:
        if self._since is None:
            self._since = self._clock.monotonic()
            words = "the books are away; this replica gives 1/%d of every limit, for %g s at most; start them again"
            log.warning(words, self.terms.replicas, self.terms.most_s)

    def check_time(self) -> None:
        """Refuse what was to be admitted alone when that has gone on for too long."""
        if self._since is not None and self._clock.monotonic() - self._since > self.terms.most_s:
            raise closed(f"the books have been away for more than {self.terms.most_s:g} s; nothing new is admitted")

    async def watch(self) -> None:
        """Look, for ever, whether they are back."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            if self._since is None:
                continue
            try:
                await self._probe()
            except StoreUnavailable:
                continue
            log.warning("the books are back after %.1f s", self._clock.monotonic() - self._since)
            self._since = None


def closed(why: str) -> Unavailable:
    """Why nothing is admitted while the books are away."""
    return Unavailable(Reason.STORE_UNAVAILABLE, why, retry_after_s=_RETRY_S)
