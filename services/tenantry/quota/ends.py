"""When to look at what: a map from a name to a time that gives what is due in the order of time, as Redis's sorted set does."""

from collections.abc import Iterator, MutableMapping
from heapq import heapify, heappop, heappush


class Ends(MutableMapping[str, int]):
    """Names by their time. Setting, dropping and finding what is due take O(log n)."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        # Entries that no longer say what the times say are passed over.
        self._heap: list[tuple[int, str]] = []

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

    def __getitem__(self, name: str) -> int:
        return self._times[name]

    def __setitem__(self, name: str, time: int) -> None:
        if self._times.get(name) != time:
            self._times[name] = time
            heappush(self._heap, (time, name))
            if len(self._heap) > 4 * len(self._times) + 64:
                self._heap = [(time, other) for other, time in self._times.items()]
                heapify(self._heap)

    def __delitem__(self, name: str) -> None:
        del self._times[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._times)

    def __len__(self) -> int:
        return len(self._times)
