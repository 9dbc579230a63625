"""What the ledger reads: quota's outbox, as a stream of batches that are acknowledged."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tenantry.insight.entries import Batch, Cursor


class OutboxStream(Protocol):
    """All that was not acknowledged, then what comes. Errors: those of the mesh, Unavailable when the stream ended."""

    async def next(self, within_s: float) -> Batch | None:
        """The next batch; None if none came in time."""
        ...

    async def acknowledge(self, cursor: Cursor) -> None:
        """Says that all up to the cursor is kept."""
        ...


class Outbox(Protocol):
    """The outbox of all buckets."""

    def open(self) -> AbstractAsyncContextManager[OutboxStream]:
        """A stream, until the block ends."""
        ...
