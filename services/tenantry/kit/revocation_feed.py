"""Hears from tenancy who was revoked: one stream a process, called again for ever, at this or another replica.

The age of what is known is counted from when a ping was sent, on the clock of this process alone: a process, a wire or a
tenancy that stood still only makes it older.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from grpc import aio

from tenantry.api.tenancy.v1 import identity_service_pb2 as pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, TenantryError, Unavailable
from tenantry.kit.revocations import Revocation, Revocations

log = logging.getLogger(__name__)

PING_EVERY_S = 1.0
# A stream that is silent for so long is given up, in time to find a better one before the word is too old.
_SILENT_S = 2.5
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0


class RevocationFeed:
    """Keeps `revocations` true. `run` belongs to the background of the process."""

    def __init__(self, channel: aio.Channel, revocations: Revocations, clock: Clock) -> None:
        self._stub = IdentityServiceStub(channel)
        self._revocations = revocations
        self._clock = clock
        self._failed = 0

    async def run(self) -> None:
        """Listens for ever."""
        while True:
            try:
                await self._listen()
            except TenantryError as error:
                log.info("the feed of revocations broke off", extra={"reason": error.reason.value})
            # The first time at once: of several replicas another one answers.
            if self._failed:
                await self._clock.sleep(min(_FIRST_PAUSE_S * 2 ** min(self._failed - 1, 8), _LONGEST_PAUSE_S))
            self._failed += 1

    async def _listen(self) -> None:
        stream = self._stub.WatchRevocations(self._pings())
        pongs = 0
        try:
            while True:
                async with asyncio.timeout(_SILENT_S):
                    answer = await stream.read()
                if not isinstance(answer, pb.WatchRevocationsResponse):
                    return
                self._revocations.enter([_revocation(one) for one in answer.revocations])
                if answer.pong:
                    self._revocations.confirm(answer.pong / 1e9)
                    pongs += 1
                if pongs > 1:  # not one that ends as soon as it began
                    self._failed = 0
        except TimeoutError:
            raise Unavailable(Reason.SERVICE_UNAVAILABLE, "tenancy is silent", service="tenancy") from None
        finally:
            stream.cancel()

    async def _pings(self) -> AsyncIterator[pb.WatchRevocationsRequest]:
        while True:
            yield pb.WatchRevocationsRequest(ping=max(1, int(self._clock.monotonic() * 1e9)))
            await self._clock.sleep(PING_EVERY_S)


def _revocation(message: pb.Revocation) -> Revocation:
    if message.WhichOneof("subject") == "tenant":
        state = tenant_pb2.TenantState.Name(message.state).removeprefix("TENANT_STATE_")
        return Revocation("tenant", message.tenant, message.generation, state)
    return Revocation("api-key", message.key_id, message.generation)
