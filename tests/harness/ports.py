"""Free TCP ports on the loopback."""

import socket


def free_port() -> int:
    """A port nobody listens on. Another process may take it first: prefer binding port 0 where a server can."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
