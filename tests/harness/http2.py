"""HTTP/2 by hand, for what no well-behaved client sends: frames as RFC 9113 draws them, header fields without compression."""

import socket
import struct
from collections.abc import Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
RESET, HEADERS, DATA = 3, 1, 0
_END_HEADERS = 4


def frame(kind: int, stream: int, payload: bytes, flags: int = 0) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def headers(stream: int, path: str, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """The beginning of a gRPC call; its message is still to come."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "tenantry"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    ]
    return frame(HEADERS, stream, b"".join(b"\0" + _text(name) + _text(value) for name, value in fields), _END_HEADERS)


def connect(address: str) -> socket.socket:
    """A connection that has said nothing yet."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _text(value: str) -> bytes:
    """A literal of RFC 7541, 5.2; lengths from 127 on take more bytes."""
    data = value.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + data
