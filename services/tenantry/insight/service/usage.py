"""UsageService."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.insight.v1 import usage_service_pb2 as pb
from tenantry.api.insight.v1 import usage_service_pb2_grpc as grpc_pb
from tenantry.insight import usage_chain
from tenantry.insight.entries import Entry, Grouping, Position, Sums
from tenantry.insight.service.convert import position_of
from tenantry.insight.store import Chain, Ledger
from tenantry.insight.usage import UsageReading
from tenantry.insight.usage_chain import Digest, Link
from tenantry.kit import caller, paging
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.messages import time_message, usage_message
from tenantry.kit.owner import Tenant

# Who adds a row to a ledger may give it any number, and it must be seen.
_BEFORE_ALL = -(2**62)
Context = aio.ServicerContext[Any, Any]
_GROUPINGS = {
    pb.USAGE_GROUPING_UNSPECIFIED: None,
    pb.USAGE_GROUPING_MODEL: Grouping.MODEL,
    pb.USAGE_GROUPING_END_USER: Grouping.END_USER,
    pb.USAGE_GROUPING_DAY: Grouping.DAY,
    pb.USAGE_GROUPING_KEY: Grouping.KEY,
}
# Years 1 to 9999, as the type of the contract allows.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


class UsageService(grpc_pb.UsageServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, usage: UsageReading, ledger: Ledger, chain: Chain) -> None:
        self._usage = usage
        self._chain = chain
        self._ledger = ledger

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        tenant = await self._named(request.tenant)
        if request.grouping not in _GROUPINGS:
            raise InvalidArgument("grouping", "is not one that this version knows")
        start_us = _micros(request.start_time, "start_time") if request.HasField("start_time") else None
        end_us = _micros(request.end_time, "end_time") if request.HasField("end_time") else None
        grouping = _GROUPINGS[request.grouping]
        total, groups, others = await self._usage.sums(tenant, start_us, end_us, grouping, request.most_groups)
        return pb.GetUsageResponse(
            total=_sum(total), groups=[_sum(group) for group in groups], others=_sum(others) if others else None
        )

    async def ListUsageRecords(
        self, request: pb.ListUsageRecordsRequest, context: Context
    ) -> pb.ListUsageRecordsResponse:
        tenant = await self._named(request.tenant)
        size = paging.size_of(request.page.size)
        at = position_of(request.page.token)
        before = Position(*at) if at else None
        found, more = await self._usage.entries(tenant, request.request_id, before, size)
        token = paging.token_of(more.settled_us, more.reservation) if more else ""
        page = paging_pb2.PageResponse(next_token=token)
        return pb.ListUsageRecordsResponse(records=[_record(entry) for entry in found], page=page)

    async def ListUsageChain(self, request: pb.ListUsageChainRequest, context: Context) -> pb.ListUsageChainResponse:
        tenant = await self._named(request.tenant)
        size = paging.size_of(request.page.size)
        position = paging.position_of(request.page.token, [int])
        after = int(position[0]) if position else _BEFORE_ALL
        if not _BEFORE_ALL <= after < 2**62:
            raise InvalidArgument("page.token", "is not a token that this list gave")
        links, digests, head = await self._chain.links(tenant, after, size)
        more = len(links) == size
        return pb.ListUsageChainResponse(
            links=[_link(link) for link in links],
            page=paging_pb2.PageResponse(next_token=paging.token_of(links[-1].number) if more else ""),
            chain=usage_chain.name_of(tenant),
            digests=[_digest(digest) for digest in digests],
            head=_digest(head) if head else None,
        )

    async def _named(self, tenant_id: str) -> Tenant:
        return await caller.named_tenant(tenant_id, self._ledger.find_tenant)


def _micros(time: Timestamp, field: str) -> int:
    if not _FIRST_SECOND <= time.seconds <= _LAST_SECOND or not 0 <= time.nanos < 1_000_000_000:
        raise InvalidArgument(field, "is not a time")
    return time.seconds * 1_000_000 + time.nanos // 1000


def _sum(sums: Sums) -> pb.UsageSum:
    return pb.UsageSum(
        group=sums.group,
        requests=sums.requests,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cost_micros=sums.cost_micros,
        cache_hits=sums.cache_hits,
        failures=sums.failures,
        estimated=sums.estimated,
        latency_p50_ms=sums.latency_p50_ms,
        latency_p95_ms=sums.latency_p95_ms,
    )


def _record(entry: Entry) -> pb.UsageRecord:
    return pb.UsageRecord(
        reservation=entry.reservation,
        key_id=entry.key_id,
        end_user=entry.end_user,
        estimated=entry.estimated,
        settle_time=time_message(entry.settled_us * 1000),
        usage=usage_message(entry.usage),
    )


def _link(link: Link) -> pb.UsageLink:
    return pb.UsageLink(number=link.number, batch=link.batch, record=_record(link.entry), hash=link.hash)


def _digest(digest: Digest) -> pb.UsageDigest:
    return pb.UsageDigest(batch=digest.batch, last=digest.last, entries=digest.entries, digest=digest.digest)
