"""WatchRevocations of IdentityService: pings in, what is told out."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from tenantry.api.tenancy.v1 import identity_service_pb2 as pb
from tenantry.tenancy.records import Revocation
from tenantry.tenancy.revocations import RevocationFeed
from tenantry.tenancy.service import convert
from tenantry.tenancy.store import TENANT_CHANGES


async def watch(
    feed: RevocationFeed, requests: AsyncIterator[pb.WatchRevocationsRequest]
) -> AsyncGenerator[pb.WatchRevocationsResponse]:
    """The answers to a stream of pings."""
    async with aclosing(feed.watch(request.ping async for request in requests)) as answers:
        async for told in answers:
            revocations = [_revocation(one) for one in told.revocations]
            yield pb.WatchRevocationsResponse(pong=told.pong, revocations=revocations)


def _revocation(one: Revocation) -> pb.Revocation:
    message = pb.Revocation(number=one.number, generation=one.generation)
    if one.kind == TENANT_CHANGES:
        message.tenant = one.id
    else:
        message.key_id = one.id
    if one.state is not None:
        message.state = convert.STATES[one.state]
    return message
