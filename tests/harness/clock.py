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
        due = sorted(
            (sleeper for sleeper in self._sleepers if sleeper[0] <= self._now_ns), key=lambda sleeper: sleeper[0]
        )
        for sleeper in due:
            # At once, so that a test can wait for `sleepers` to tell that the woken one sleeps again.
            self._sleepers.remove(sleeper)
            if not sleeper[1].done():
                sleeper[1].set_result(None)
