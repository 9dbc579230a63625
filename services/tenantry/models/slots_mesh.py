"""Places from quota's fair queue: a stream for each call, whose life is the lease.

A stream that breaks while the call runs is opened again with the lease, at whichever replica answers; only when the lease
has ended without that is the place lost.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from tenantry.api.quota.v1 import queue_service_pb2 as pb
from tenantry.api.quota.v1.queue_service_pb2_grpc import FairQueueServiceStub
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError, Unavailable
from tenantry.models.slots import Limit, Outcome, Standing, Wanted

# How often output is told while it is written.
TELL_EVERY_S = 0.3
# Who waits for less than this is not told so.
SAY_AFTER_S = 0.5
_AGAIN_S = 0.1
# How long giving a place back may take; after that it ends by itself.
_BACK_WITHIN_S = 2.0
_OUTCOMES = {Outcome.OK: pb.SLOT_OUTCOME_OK, Outcome.THROTTLED: pb.SLOT_OUTCOME_THROTTLED}


class _Seat:
    """A place: first it is asked for, then granted, and held over as many streams as it takes."""

    def __init__(self, slots: "MeshSlots", wanted: Wanted) -> None:
        self.wanted = wanted
        self.stream: Any = None
        self.lease = pb.Lease()
        self.ends_at = 0.0
        self.waited_s = 0.0
        self.holding: asyncio.Task[None] | None = None
        self.lost = False
        self._slots = slots
        self.output_tokens = 0
        self.told_tokens = 0
        self.end = pb.SlotEnd(outcome=pb.SLOT_OUTCOME_FAILED)
        self._limit: Limit | None = None
        self._reading: asyncio.Task[Any] | None = None

    def turn(self) -> AsyncGenerator[Standing, None]:
        return self._slots.wait(self)

    def read(self) -> "asyncio.Task[Any]":
        """The stream's next message, on its way. It is never cancelled: that would cancel the stream."""
        reading = self._reading
        if reading is None:
            reading = self._reading = _reading(self.stream)
        return reading

    def go_on(self, stream: Any, lease: pb.Lease, ends_at: float) -> None:
        """The place is held by this stream from now on."""
        self.stream, self.lease, self.ends_at = stream, lease, ends_at
        self._reading = None

    async def heard(self) -> Any:
        """The next message; raises how the stream broke."""
        reading = self.read()
        try:
            return await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None

    def cut(self, limit: Limit) -> None:
        self._limit = limit

    def lose(self) -> None:
        self.lost = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    def wrote(self, output_tokens: int) -> None:
        self.output_tokens = max(self.output_tokens, output_tokens)

    def ended(self, outcome: Outcome, output_tokens: int, retry_after_s: float) -> None:
        self.end = pb.SlotEnd(
            outcome=_OUTCOMES.get(outcome, pb.SLOT_OUTCOME_FAILED),
            output_tokens=output_tokens,
            retry_after=_duration(retry_after_s) if retry_after_s else None,
        )


class MeshSlots:
    """`Slots` over a channel to quota."""

    def __init__(self, channel: aio.Channel, clock: Clock) -> None:
        self._queue = FairQueueServiceStub(channel)
        self._clock = clock
        self._returning: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def take(self, wanted: Wanted) -> AsyncGenerator[_Seat, None]:
        seat = _Seat(self, wanted)
        try:
            yield seat
        finally:
            if seat.holding is not None:
                seat.holding.cancel()
                # In a task: the answer need not wait for it, and a call that was cancelled may not.
                back = asyncio.create_task(self._give_back(seat, seat.holding))
                self._returning.add(back)
                back.add_done_callback(self._returning.discard)

    async def wait(self, seat: _Seat) -> AsyncGenerator[Standing, None]:
        """Ask for the place, and hold it from the grant on."""
        began, wanted = self._clock.monotonic(), seat.wanted
        begin = pb.SlotBegin(
            receipt=wanted.receipt,
            pool=wanted.pool,
            input_tokens=wanted.input_tokens,
            max_output_tokens=wanted.max_output_tokens,
            begin_within=_duration(wanted.within_s),
            priority=wanted.priority,
        )
        said = False
        async with aclosing(self._granted(seat, begin)) as standings:
            async for standing in standings:
                said = True
                yield standing
        seat.waited_s = self._clock.monotonic() - began
        seat.holding = asyncio.create_task(self._hold(seat))
        if said:
            yield Standing(0, 0.0)

    async def close(self) -> None:
        """Let places that are given back reach the queue."""
        await asyncio.gather(*self._returning, return_exceptions=True)

    async def _granted(self, seat: _Seat, begin: pb.SlotBegin) -> AsyncGenerator[Standing, None]:
        """A stream that is granted the place. What the queue says before is passed on when it holds for a while."""
        stream: Any = self._queue.AcquireSlot()
        say_at = asyncio.get_running_loop().time() + SAY_AFTER_S
        standing: Standing | None = None
        granted = False
        try:
            await stream.write(pb.AcquireSlotRequest(begin=begin))
            while not granted:
                reading = _reading(stream)
                if standing is not None and not await _comes_by(reading, say_at):
                    yield standing
                answer = await reading
                if not isinstance(answer, pb.AcquireSlotResponse):
                    raise _away()
                standing = Standing(answer.waiting.place, _seconds(answer.waiting.expected_wait))
                if granted := answer.HasField("granted"):
                    seat.go_on(stream, answer.granted, self._clock.monotonic() + _seconds(answer.granted.life))
        finally:
            if not granted:
                stream.cancel()

    async def _hold(self, seat: _Seat) -> None:
        """Keep the place until it is given back, over as many streams as it takes."""
        while True:
            try:
                await self._follow(seat)
            except TenantryError:
                seat.stream.cancel()
            if not await self._again(seat):
                seat.lose()
                return

    async def _follow(self, seat: _Seat) -> None:
        """Hear of renewals and tell what was written, until the stream breaks."""
        while True:
            done, _ = await asyncio.wait((seat.read(),), timeout=TELL_EVERY_S)
            if done:
                answer = await seat.heard()
                if not isinstance(answer, pb.AcquireSlotResponse):
                    return
                seat.lease = answer.granted
                seat.ends_at = self._clock.monotonic() + _seconds(answer.granted.life)
            elif seat.output_tokens > seat.told_tokens:
                seat.told_tokens = seat.output_tokens
                progress = pb.SlotProgress(output_tokens=seat.told_tokens)
                await seat.stream.write(pb.AcquireSlotRequest(progress=progress))

    async def _again(self, seat: _Seat) -> bool:
        """Go on with the lease at whichever replica answers; False when it is another call's, or has ended."""
        while (left_s := seat.ends_at - self._clock.monotonic()) > 0:
            begin = pb.SlotBegin(receipt=seat.wanted.receipt, lease=seat.lease, output_tokens=seat.output_tokens)
            try:
                async with asyncio.timeout(left_s), aclosing(self._granted(seat, begin)) as standings:
                    async for _ in standings:
                        pass
            except (Unavailable, ResourceExhausted):
                await self._clock.sleep(_AGAIN_S)
            except (TenantryError, TimeoutError):
                return False
            else:
                return True
        return False

    async def _give_back(self, seat: _Seat, holding: "asyncio.Task[None]") -> None:
        await asyncio.gather(holding, return_exceptions=True)
        try:
            async with asyncio.timeout(_BACK_WITHIN_S):
                await seat.stream.write(pb.AcquireSlotRequest(end=seat.end))
                await seat.stream.done_writing()
                while isinstance(await seat.heard(), pb.AcquireSlotResponse):
                    pass
        except (TenantryError, TimeoutError, asyncio.InvalidStateError):
            pass  # the stream is broken, and the lease ends by itself
        finally:
            seat.stream.cancel()


def _reading(stream: Any) -> "asyncio.Task[Any]":
    """The stream's next message, on its way; how it breaks is said to those who wait for it, if any do."""
    reading = asyncio.create_task(stream.read())
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())
    return reading


async def _comes_by(reading: "asyncio.Task[Any]", at: float) -> bool:
    """Whether the message is there at that time of the event loop."""
    done, _ = await asyncio.wait((reading,), timeout=max(0.0, at - asyncio.get_running_loop().time()))
    return bool(done)


def _away() -> Unavailable:
    return Unavailable(Reason.SERVICE_UNAVAILABLE, "the queue ended the call's stream", service="quota")


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
