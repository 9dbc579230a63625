"""HMAC-SHA-256 for short messages on the event loop."""

import hmac


def mac(secret: bytes, message: bytes) -> bytes:
    """The MAC of `message`.

    Not `hmac.digest`: that lets go of the interpreter's lock for these few microseconds, and a process with busy threads
    gets it back a hundred later.
    """
    return hmac.new(secret, message, "sha256").digest()
