"""Inside a child process that does what a tenant can make endless: its limits, and its frames on both pipes.

A frame is a length of four bytes and JSON. The first one of the child says that it is ready; then it answers each request.
It imports little, since it is started again after every request that it did not survive. `kit.children` is the other side.
"""

import json
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

MEMORY_BYTES = 512 * 1024 * 1024
# More than the parent gives any request: it ends a child whose parent died while it was busy.
_CPU_S = 5
_LENGTH = struct.Struct(">I")


def serve(respond: Callable[[Any], Any]) -> None:
    """Answers requests until the input ends, which it does with the parent."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # A terminal's Ctrl-C reaches this process too; the parent drains first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    write_frame(sys.stdout.buffer, {})
    while (request := read_frame(sys.stdin.buffer)) is not None:
        _allow_time()
        write_frame(sys.stdout.buffer, respond(request))


def read_frame(pipe: IO[bytes]) -> Any:
    """The next frame; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return json.loads(body) if len(body) == length else None


def write_frame(pipe: IO[bytes], message: Any) -> None:
    """Sends a frame."""
    body = json.dumps(message).encode()
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def _allow_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    until = int(used.ru_utime + used.ru_stime) + _CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (until if most == resource.RLIM_INFINITY else min(until, most), most))
