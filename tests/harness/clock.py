"""A clock that stands still until a test moves it."""

import asyncio


class FrozenClock:
    """Sleepers wake when `advance` passes their time; wall and monotonic time move together."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now_ns = round(now * 1e9)
        self._started_ns = self._now_ns
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now_ns / 1e9

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic(self) -> float:
        return (self._now_ns - self._started_ns) / 1e9

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._now_ns + round(seconds * 1e9), asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    @property
    def sleepers(self) -> int:
        """How many tasks wait for this clock."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move time on and wake whoever has slept long enough."""
        self._now_ns += round(seconds * 1e9)
        for end_ns, future in sorted(self._sleepers, key=lambda sleeper: sleeper[0]):
            if end_ns <= self._now_ns and not future.done():
                future.set_result(None)
