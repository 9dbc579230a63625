"""Free TCP ports on the loopback, for servers that have to be told one.

They lie below those that the kernel gives to outgoing connections (Linux: from 32768): a port from there could be taken by
any client between the choice and the server's start. All test processes of the machine take turns through one file, so that
a port that is somebody's is chosen by nobody else, also while its server is being started again.
"""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

_FIRST = 10_000
_PAIRS = 11_000
_TURNS = Path(tempfile.gettempdir()) / f"tenantry-test-ports-{os.getuid()}"


def free_port() -> int:
    """A port nobody listens on. Prefer binding port 0 where a server can."""
    while not _is_free(port := _next_pair()):
        pass
    return port


def free_ports_in_a_row() -> int:
    """The first of two ports in a row that nobody listens on."""
    while not (_is_free(port := _next_pair()) and _is_free(port + 1)):
        pass
    return port


def _next_pair() -> int:
    with _TURNS.open("a+") as turns:
        fcntl.flock(turns, fcntl.LOCK_EX)
        turns.seek(0)
        turn = int(turns.read() or 0)
        turns.truncate(0)
        turns.write(str(turn + 1))
    return _FIRST + 2 * (turn % _PAIRS)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
