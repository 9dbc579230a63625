"""Entries that are chained by hashes: each hash is SHA-256 over the hash before it and the entry's own fields.

Fields are length-prefixed, so that no two entries have the same text. The first names whose chain it is, so that a chain
can't be passed off as another's, and the second is the entry's number, from 1 without gaps.
"""

import hashlib
from collections.abc import Iterable

START = bytes(32)


def link(previous: bytes, fields: Iterable[str]) -> bytes:
    """The hash of an entry with these fields after one whose hash is `previous`."""
    parts = [previous]
    for field in fields:
        data = field.encode()
        parts += (len(data).to_bytes(4), data)
    return hashlib.sha256(b"".join(parts)).digest()


class Walk:
    """Follows a chain, oldest first, one entry at a time: `number` and `hash` are those of the last."""

    def __init__(self) -> None:
        self.number = 0
        self.hash = START

    def fault_of(self, number: int, hash: bytes, fields: Iterable[str]) -> str | None:
        """What is wrong with the next entry; None, and one step further, if nothing is."""
        if number != self.number + 1:
            return f"entry {self.number + 1} is missing, and {number} stands in its place"
        if hash != link(self.hash, fields):
            return f"entry {number} is not the one that was written there"
        self.number, self.hash = number, hash
        return None

    def short_of(self, number: int, hash: bytes) -> str | None:
        """What is wrong if the chain, all of which was walked, should end with that entry."""
        if self.number < number:
            return f"entry {self.number + 1} is missing, and all up to {number}"
        if (self.number, self.hash) != (number, hash):
            return f"entry {number} is not the one that the chain should end with"
        return None
