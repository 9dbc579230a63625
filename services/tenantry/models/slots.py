"""Places in pools: what an attempt needs of the fair queue, whoever keeps it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tenantry.models.model import Model


class Outcome(StrEnum):
    """How a call at a provider ended."""

    OK = "ok"
    THROTTLED = "throttled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a waiting call stands: `place` 1 is its tenant's next, 0 says that its turn has come; the wait is an estimate, 0
    while nothing was measured."""

    place: int
    wait_s: float


class Limit(Protocol):
    """What bounds the wait for the provider's next piece: an `asyncio.Timeout`."""

    def reschedule(self, when: float | None) -> None: ...


class Seat(Protocol):
    """A place that a call holds while it runs, once `turn` has ended."""

    def turn(self) -> AsyncGenerator[Standing, None]:
        """Waits for the call's turn, and says where it stands while that takes long, and then that it has come. Raises the
        queue's refusal."""
        ...

    @property
    def waited_s(self) -> float:
        """How long the call waited for it."""
        ...

    @property
    def lost(self) -> bool:
        """Whether the place is another call's now: the queue was away for longer than the lease lasts."""
        ...

    def cut(self, limit: Limit) -> None:
        """End this wait at once when the place is lost."""
        ...

    def wrote(self, output_tokens: int) -> None:
        """So much was written until now."""
        ...

    def ended(self, outcome: Outcome, output_tokens: int, retry_after_s: float) -> None:
        """How the call ended; without a word it failed."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for. Only the queue understands the receipt; `within_s` is the longest wait of use."""

    receipt: Any
    pool: str
    input_tokens: int
    max_output_tokens: int
    within_s: float
    priority: int = 0


class Slots(Protocol):
    """The fair queue."""

    def take(self, wanted: Wanted) -> AbstractAsyncContextManager[Seat]:
        """A place for as long as the block runs, which begins with waiting for the call's turn."""
        ...


class FreeSeat:
    """Nobody waits for what this process does itself."""

    waited_s = 0.0
    lost = False

    async def turn(self) -> AsyncGenerator[Standing, None]:
        for standing in ():
            yield standing

    def cut(self, limit: Limit) -> None: ...
    def wrote(self, output_tokens: int) -> None: ...
    def ended(self, outcome: Outcome, output_tokens: int, retry_after_s: float) -> None: ...


def pool_of(model: Model, tenant: str, payer: str) -> str:
    """Whose capacity a call uses: a platform's model with the platform's credential is shared by all tenants; a tenant's own
    model or credential is the tenant's alone. No provider's name has a slash, and no tenant's id a colon."""
    shared = f"{model.provider}:{model.provider_model}"
    return f"{tenant}/{shared}" if model.tenant or payer else shared
