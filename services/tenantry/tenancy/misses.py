"""Ids that were looked for in vain, remembered for some seconds and apart, so that guesses neither ask SQL each time nor push
out what there is."""

from collections import OrderedDict

from tenantry.kit.clock import Clock

_MOST = 10_000
_LIFE_S = 5.0


class Misses:
    """Up to 10,000 of them, the oldest forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def has(self, id: str) -> bool:
        """Whether the id was looked for in vain a moment ago."""
        return self._until.get(id, 0.0) > self._clock.monotonic()

    def add(self, id: str) -> None:
        """The id was looked for in vain now."""
        self._until[id] = self._clock.monotonic() + _LIFE_S
        self._until.move_to_end(id)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)
