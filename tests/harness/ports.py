"""Free TCP ports on the loopback, for servers that have to be told one.

They lie below those that the kernel gives to outgoing connections (Linux: from 32768): a port from there could be taken by
any client between the choice and the server's start. Each process has an order of its own, so two test workers seldom
choose the same.
"""

import itertools
import random
import socket

_PAIRS = itertools.cycle(random.SystemRandom().sample(range(10_000, 32_000, 2), 11_000))


def free_port() -> int:
    """A port nobody listens on. Prefer binding port 0 where a server can."""
    return next(port for port in _PAIRS if _is_free(port))


def free_ports_in_a_row() -> int:
    """The first of two ports in a row that nobody listens on."""
    return next(port for port in _PAIRS if _is_free(port) and _is_free(port + 1))


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
