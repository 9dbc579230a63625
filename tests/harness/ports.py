"""Free TCP ports on the loopback."""

import socket


def free_port() -> int:
    """A port nobody listens on. Another process may take it first: prefer binding port 0 where a server can."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def free_ports_in_a_row() -> int:
    """The first of two ports in a row that nobody listens on, with the same caveat."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
