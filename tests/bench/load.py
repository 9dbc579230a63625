"""Closed loops of calls: so many at a time, each followed by the next, and how long each took."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
from grpc import aio

Send = Callable[[], Awaitable[Any]]


@dataclass
class Run:
    """What was measured: latencies in seconds of the calls that ended, in a span of wall time."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """The latency that `percent` of the calls stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


async def closed_loop(send: Send, at_once: int, seconds: float, most_calls: int = 1_000_000) -> Run:
    """Runs `at_once` loops of `send`. A call that fails ends the benchmark: a wrong answer has no speed."""
    run = Run()
    clock = time.perf_counter
    started = clock()
    end = started + seconds

    async def loop() -> None:
        while clock() < end and len(run.latencies) < most_calls:
            begun = clock()
            await send()
            run.latencies.append(clock() - begun)

    await asyncio.gather(*(loop() for _ in range(at_once)))
    run.seconds = clock() - started
    return run


def median(values: Sequence[float]) -> float:
    """The middle one: on a machine with neighbours a mean says little."""
    return statistics.median(values) if values else 0.0


class Cpu:
    """CPU seconds that processes used since they were last asked."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._processes = [psutil.Process(pid) for pid in pids]
        self._last = self._now()

    def used(self) -> float:
        now = self._now()
        used, self._last = now - self._last, now
        return used

    def _now(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)


def raw(channel: aio.Channel, path: str) -> Any:
    """A unary RPC whose messages are bytes: the client's own work is the same whatever is called."""
    return channel.unary_unary(path)


def traceparent(sampled: bool) -> tuple[str, str]:
    """A new trace, recorded or not."""
    trace, span = random.getrandbits(128) | 1, random.getrandbits(64) | 1
    return ("traceparent", f"00-{trace:032x}-{span:016x}-{int(sampled):02x}")


class Sampling:
    """Says of every new trace whether it is recorded: exactly the given share of them."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._due = 0.0

    def next(self) -> tuple[str, str]:
        self._due += self._share
        sampled = self._due >= 1.0
        if sampled:
            self._due -= 1.0
        return traceparent(sampled)


def client(address: str, *options: tuple[str, int]) -> aio.Channel:
    """A client's channel, without a proxy or retries."""
    return aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), *options])


async def ready(channel: aio.Channel) -> None:
    """Waits until the other side answers."""
    async with asyncio.timeout(30):
        await channel.channel_ready()
