"""Child processes for what a tenant can make endless, as seen from the service: ended when late, shared out by tenant.

    children = Children("tenantry.prompts.renderer", late_s=1.0)
    answer = await children.ask(request)    # None: the child was late or crashed over it, and is no more

Each child belongs to a thread while it works, so that no event loop owns it, and a lock that the child holds is its own.
"""

import asyncio
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from tenantry.kit import caller
from tenantry.kit.child import read_frame, write_frame
from tenantry.kit.errors import Reason, ResourceExhausted, Unavailable

_START_S = 10.0
_WAIT_S = 5.0
_AGAIN_S = 1.0
_Process = subprocess.Popen[bytes]


class _Line:
    """Those of one tenant: who has the turn, and how many there are with those who wait for it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.users = 0


class Children:
    """A few processes of a module that calls `kit.child.serve`, each started when first needed.

    Of one tenant (the current call's) at most one request is with them at a time, and `waiting` wait for it, so that others
    wait for its turn and not for all that it sent. They end with `close`, with this object, or with this process.
    """

    def __init__(self, module: str, *, late_s: float, count: int = 2, waiting: int = 32) -> None:
        self._module = module
        self._late_s = late_s
        self._waiting = waiting
        self._closed = False
        self._lines: dict[str, _Line] = {}
        # As many threads as children; the executor's queue is where tenants' turns wait for one.
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=module)
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        weakref.finalize(self, _end_all, self._all)

    async def ask(self, request: Any) -> Any:
        """The child's answer; None if it was late or crashed. ResourceExhausted: others are before it for too long."""
        until = time.monotonic() + _WAIT_S
        whose = _whose()
        await self._take_turn(whose)
        try:
            future = self._threads.submit(self._work, request)
        except RuntimeError:
            self._end_turn(whose)
            raise _ending() from None
        answer = asyncio.wrap_future(future)
        # Not when this call ends, which may be cancelled: a turn lasts as long as its child is busy.
        answer.add_done_callback(lambda done: self._end_turn(whose, done))
        try:
            done, _ = await asyncio.wait((answer,), timeout=until - time.monotonic())
            # It can still be cancelled if no child has begun with it.
            if not done and future.cancel():
                raise _busy()
            await asyncio.wait((answer,))
        finally:
            future.cancel()
        if self._closed and (answer.cancelled() or answer.result() is None):
            raise _ending()
        return answer.result()

    async def close(self) -> None:
        """Ends the processes, also those that are busy."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        _kill_all(self._all)
        await asyncio.to_thread(self._threads.shutdown)
        _end_all(self._all)

    async def _take_turn(self, whose: str) -> None:
        line = self._lines.setdefault(whose, _Line())
        if line.users > self._waiting:
            raise _busy()
        line.users += 1
        try:
            async with asyncio.timeout(_WAIT_S):
                await line.turn.acquire()
        except BaseException as error:
            self._leave(whose)
            if isinstance(error, TimeoutError):
                raise _busy() from None
            raise

    def _end_turn(self, whose: str, done: "asyncio.Future[Any] | None" = None) -> None:
        self._lines[whose].turn.release()
        self._leave(whose)
        if done is not None and not done.cancelled():
            # Looked at, since the caller may be gone, and asyncio logs what nobody looked at.
            done.exception()

    def _leave(self, whose: str) -> None:
        line = self._lines[whose]
        line.users -= 1
        if not line.users:
            del self._lines[whose]

    def _work(self, request: Any) -> Any:
        """In a thread: the answer of a child, which nobody else speaks to meanwhile."""
        child = self._take()
        answer = _within(self._late_s, child, lambda: _exchange(child, request))
        if answer is None:
            self._end(child)
        else:
            self._idle.append(child)
        return answer

    def _take(self) -> _Process:
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                return self._start()
            if child.poll() is None:
                return child
            self._end(child)

    def _start(self) -> _Process:
        try:
            # The module is ours.
            child = subprocess.Popen(  # noqa: S603
                (sys.executable, "-m", self._module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            raise _not_started() from None
        self._all.add(child)
        pipe = child.stdout
        # Outside of a request's time: on a loaded machine a start takes longer than most requests.
        if pipe is None or _within(_START_S, child, lambda: read_frame(pipe)) is None:
            self._end(child)
            raise _not_started()
        return child

    def _end(self, child: _Process) -> None:
        _end_all({child})
        self._all.discard(child)


def _whose() -> str:
    """Whose call it is: its tenant, or the organisation of an administrator."""
    who = caller.current_or_none()
    return f"{who.organisation}/{who.tenant}" if who else ""


def _exchange(child: _Process, request: Any) -> Any:
    assert child.stdin is not None and child.stdout is not None
    write_frame(child.stdin, request)
    return read_frame(child.stdout)


def _within(limit_s: float, child: _Process, speak: Callable[[], Any]) -> Any:
    """What the child said, or None if it ended or had to be ended."""
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(limit_s, end)
    timer.start()
    try:
        said = speak()
    except (OSError, ValueError):
        # A broken pipe, or half a frame.
        said = None
    finally:
        timer.cancel()
        # Else it might end the child later, over somebody else's request.
        timer.join()
    return None if late.is_set() else said


def _kill_all(children: set[_Process]) -> None:
    for child in list(children):
        child.kill()


def _end_all(children: set[_Process]) -> None:
    """Ends them and leaves nothing of them behind."""
    _kill_all(children)
    for child in list(children):
        child.wait()
        for pipe in (child.stdin, child.stdout):
            # What it did not read any more can't be sent.
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


def _busy() -> ResourceExhausted:
    message = "too many requests of this kind wait for their turn; try again later"
    return ResourceExhausted(Reason.SERVER_BUSY, message, retry_after_s=_AGAIN_S)


def _ending() -> Unavailable:
    return Unavailable(Reason.SERVICE_UNAVAILABLE, "the service is ending")


def _not_started() -> Unavailable:
    return Unavailable(Reason.SERVICE_UNAVAILABLE, "a child process does not start")
