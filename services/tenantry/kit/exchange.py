"""The state of one in-process call, which its two ends share: two bounded pipes of bytes, a status, a deadline."""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import grpc
from grpc import aio

Pairs = tuple[tuple[str, str | bytes], ...]
Waiters = deque["asyncio.Future[None]"]
# As many messages may wait unread as a writer gets ahead of its reader.
PIPE_MESSAGES = 8


class Pipe:
    """Messages one way. A writer waits while the pipe is full, a reader while it is empty."""

    __slots__ = ("_closed", "_messages", "_readers", "_writers")

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._closed = False
        # Most pipes carry one message that is there before it is wanted: nobody ever waits.
        self._readers: Waiters | None = None
        self._writers: Waiters | None = None

    def push(self, message: bytes) -> None:
        """Puts a message that is the only one of its way, so that there is always room."""
        self._messages.append(message)
        if self._readers:
            _wake(self._readers)

    async def put(self, message: bytes) -> bool:
        """Puts a message when there is room; False when nobody will read it."""
        while len(self._messages) >= PIPE_MESSAGES and not self._closed:
            if self._writers is None:
                self._writers = deque()
            await _wait(self._writers)
        if self._closed:
            return False
        self.push(message)
        return True

    async def get(self) -> bytes | None:
        """The next message; None after the last one."""
        while not self._messages:
            if self._closed:
                return None
            if self._readers is None:
                self._readers = deque()
            await _wait(self._readers)
        return self.take()

    def take(self) -> bytes | None:
        """The next message if there is one."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        if self._writers:
            _wake(self._writers)
        return message

    def close(self) -> None:
        """No message follows; what is in the pipe can still be read."""
        self._closed = True
        if self._readers:
            _wake_all(self._readers)
        if self._writers:
            _wake_all(self._writers)

    def break_off(self) -> None:
        """Closes and forgets what was not read."""
        self._messages.clear()
        self.close()


class Exchange:
    """One call. Whoever finishes it first decides its status."""

    __slots__ = (
        "_callbacks",
        "_ended",
        "_initial_waiters",
        "_loop",
        "_timer",
        "code",
        "deadline",
        "details",
        "initial",
        "metadata",
        "path",
        "requests",
        "responses",
        "task",
        "trailing",
    )

    def __init__(self, path: str, metadata: Pairs, timeout_s: float | None) -> None:
        self.path = path
        self.metadata = metadata
        self.requests = Pipe()
        self.responses = Pipe()
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.initial: Pairs | None = None
        self.trailing: Pairs = ()
        self.task: asyncio.Task[None] | None = None
        self.deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._loop = asyncio.get_running_loop()
        self._ended: Waiters = deque()
        self._initial_waiters: Waiters | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._timer = None if timeout_s is None else self._loop.call_later(max(timeout_s, 0.0), self._expire)

    def start(self, serving: Coroutine[Any, Any, None]) -> None:
        """Runs the handler's side in a context with nothing in it: all that it knows of the caller is the metadata."""
        self.task = self._loop.create_task(serving, context=contextvars.Context())

    def finish(
        self, code: grpc.StatusCode, details: str = "", trailing: Iterable[tuple[str, str | bytes]] = ()
    ) -> bool:
        """Ends the call, once. Responses that were written before can still be read."""
        if self.code is not None:
            return False
        self.code = code
        self.details = details
        self.trailing = tuple(trailing)
        if self._timer is not None:
            self._timer.cancel()
        self.send_initial(())
        self.requests.break_off()
        self.responses.close()
        _wake_all(self._ended)
        for callback in self._callbacks:
            self._loop.call_soon(callback)
        self._callbacks.clear()
        return True

    def break_off(self, code: grpc.StatusCode, details: str) -> bool:
        """Ends the call against the handler, which is cancelled."""
        if not self.finish(code, details):
            return False
        self.responses.break_off()
        if self.task is not None:
            self.task.cancel()
        return True

    def send_initial(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Sets the initial metadata unless they are set."""
        if self.initial is None:
            self.initial = tuple(metadata)
            if self._initial_waiters:
                _wake_all(self._initial_waiters)

    async def wait_initial(self) -> Pairs:
        """The initial metadata, when the handler has sent something."""
        while self.initial is None:
            if self._initial_waiters is None:
                self._initial_waiters = deque()
            await _wait(self._initial_waiters)
        return self.initial

    async def wait_ended(self) -> grpc.StatusCode:
        """The call's status code, when it has one."""
        while self.code is None:
            await _wait(self._ended)
        return self.code

    def on_end(self, callback: Callable[[], None]) -> None:
        """Calls `callback` once the call has ended."""
        if self.code is None:
            self._callbacks.append(callback)
        else:
            self._loop.call_soon(callback)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def failed(self) -> bool:
        """Whether it ended otherwise than OK."""
        return self.code not in (None, grpc.StatusCode.OK)

    def error(self) -> aio.AioRpcError:
        """What the client raises when the status is not OK."""
        assert self.code is not None
        return aio.AioRpcError(
            self.code,
            aio.Metadata.from_tuple(self.initial or ()),
            aio.Metadata.from_tuple(self.trailing),
            details=self.details,
            debug_error_string="in-process",
        )

    async def incoming(self) -> AsyncIterator[bytes]:
        """The requests, for a handler that reads a stream of them."""
        while (message := await self.requests.get()) is not None:
            yield message

    def _expire(self) -> None:
        self.break_off(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


async def _wait(waiters: Waiters) -> None:
    """Waits to be woken. Each waits on a future of its own, so that cancelling one disturbs nobody else."""
    future = asyncio.get_running_loop().create_future()
    waiters.append(future)
    try:
        await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled():
            _wake(waiters)  # It was woken and can't use it: the next one may.
        raise


def _wake(waiters: Waiters) -> None:
    while waiters:
        future = waiters.popleft()
        if not future.done():
            future.set_result(None)
            return


def _wake_all(waiters: Waiters) -> None:
    while waiters:
        _wake(waiters)
