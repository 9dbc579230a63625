"""Waiting for something to become true, so that no test sleeps and hopes."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], bool | Awaitable[bool]], within_s: float = 5.0, every_s: float = 0.01, what: str = ""
) -> None:
    """Return once `condition()` is true (it may be async); fail the test if it is not within `within_s` seconds."""
    end = time.monotonic() + within_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() >= end:
            raise AssertionError(f"{what or 'the condition'} did not become true within {within_s} s")
        await asyncio.sleep(every_s)
