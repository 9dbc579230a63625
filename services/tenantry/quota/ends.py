"""When to look at what: a map from a name to a time that gives what is due in the order of time, as Redis's sorted set does."""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush


@dataclass(slots=True)
class Ends:
    """Names by their time. Setting, dropping and finding what is due take O(log n). Entries of the heap that no longer say what
    the times say are passed over."""

    _times: dict[str, int] = field(default_factory=dict[str, int])
    _heap: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]], compare=False)

    def __contains__(self, name: str) -> bool:
        return name in self._times

    def __getitem__(self, name: str) -> int:
        return self._times[name]

    def __setitem__(self, name: str, at: int) -> None:
        if self._times.get(name) != at:
            self._times[name] = at
            heappush(self._heap, (at, name))
            if len(self._heap) > 4 * len(self._times) + 64:
                self._heap = [(time, other) for other, time in self._times.items()]
                heapify(self._heap)

    def discard(self, name: str) -> None:
        self._times.pop(name, None)

    def due(self, now: int, most: int) -> list[str]:
        """Up to `most` names whose time has come, which stay in the map; ties go by name."""
        due: list[tuple[int, str]] = []
        while self._heap and self._heap[0][0] <= now and len(due) < most:
            entry = heappop(self._heap)
            if self._times.get(entry[1]) == entry[0] and entry not in due[-1:]:
                due.append(entry)
        for entry in due:
            heappush(self._heap, entry)
        return [name for _, name in due]

    def items(self) -> dict[str, int]:
        """All there is."""
        return dict(self._times)
