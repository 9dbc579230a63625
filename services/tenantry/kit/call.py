"""What is known about the call being served, in one context variable that callers, channels and logs read."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenantry.kit.caller import Caller

ASSERTION = "x-tenantry-assertion"
TENANT = "x-tenant-id"
SERVICE = "x-tenantry-service"
REQUEST_ID = "x-tenantry-request-id"
TARGET = "x-tenantry-target"
# A client's call that the edge passes on: the service token that comes with it gives no right.
FORWARDED = "x-tenantry-forwarded"
TRACEPARENT = "traceparent"
# Where Envoy keeps the trace that a client says it has, which becomes a link.
CLIENT_TRACEPARENT = "x-client-traceparent"
# In trailing metadata of RPCs that have no caller: whom the answer is about, for the sender's span.
TIER = "x-tenantry-tier"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, served by the room `service`.

    `deadline` is in seconds of `time.monotonic`; `assertion` is the token that travels on.
    """

    caller: "Caller | None" = None
    identity: str | None = None
    request_id: str = ""
    assertion: str = ""
    deadline: float | None = None
    service: str = ""

    def onward(self) -> list[tuple[str, str]]:
        """The metadata that a call made on behalf of this one carries."""
        metadata: list[tuple[str, str]] = []
        if self.assertion and self.caller is not None:
            metadata.append((ASSERTION, self.assertion))
            if self.caller.tenant:
                metadata.append((TENANT, self.caller.tenant))
        if self.request_id:
            metadata.append((REQUEST_ID, self.request_id))
        return metadata


NOTHING = Call()
CURRENT: ContextVar[Call] = ContextVar("tenantry.call", default=NOTHING)


@contextmanager
def entered(call: Call) -> Generator[Call]:
    """Makes `call` the current one for a block: for the edge, background work and tests."""
    token = CURRENT.set(call)
    try:
        yield call
    finally:
        CURRENT.reset(token)


@contextmanager
def detached() -> Generator[Call]:
    """The same call without its deadline: for work that outlives the answer, such as settling and metering."""
    with entered(replace(CURRENT.get(), deadline=None)) as call:
        yield call
