"""CacheService: protobuf to use case and back."""

import time
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from grpc import aio

from tenantry.api.cache.v1 import cache_service_pb2 as pb
from tenantry.api.cache.v1 import cache_service_pb2_grpc as grpc_pb
from tenantry.cache import checks
from tenantry.cache.answers import Answers
from tenantry.cache.entry import Entry, Found, Key, Lead, Wait
from tenantry.kit import call, caller
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.messages import time_message

# A wait ends this long before its call's deadline, so that its answer still arrives; without a deadline after a minute.
_MARGIN_S = 0.05
_LONGEST_WAIT_S = 60.0
Context = aio.ServicerContext[Any, Any]


class CacheService(grpc_pb.CacheServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def LookupEntry(self, request: pb.LookupEntryRequest, context: Context) -> pb.LookupEntryResponse:
        if request.documents_epoch < 0:
            raise InvalidArgument("documents_epoch", "is below 0")
        found = await self._answers.look_up(
            caller.owner(), caller.current(), _key(request.key), request.documents_epoch
        )
        response = pb.LookupEntryResponse()
        _fill(response, found)
        return response

    async def AwaitEntry(self, request: pb.AwaitEntryRequest, context: Context) -> pb.AwaitEntryResponse:
        found = await self._answers.wait(
            caller.owner(), caller.current(), _key(request.key), request.handle, _wait_s(call.CURRENT.get().deadline)
        )
        response = pb.AwaitEntryResponse()
        _fill(response, found)
        return response

    async def StoreEntry(self, request: pb.StoreEntryRequest, context: Context) -> pb.StoreEntryResponse:
        answer = request.answer
        names = {name: getattr(answer, name) for name in ("provider", "model", "model_revision", "finish_reason")}
        tokens = {name: getattr(answer, name) for name in ("input_tokens", "output_tokens")}
        checks.check_answer(answer.text, answer.citations, names, tokens)
        ttl_ms = _ms(request.ttl) if request.HasField("ttl") else checks.DEFAULT_TTL_MS
        await self._answers.save(
            caller.owner(),
            caller.current(),
            _key(request.key),
            request.handle,
            answer.SerializeToString(),
            request.documents_epoch,
            ttl_ms,
        )
        return pb.StoreEntryResponse()

    async def RenewFlight(self, request: pb.RenewFlightRequest, context: Context) -> pb.RenewFlightResponse:
        ends_ms, waiting = await self._answers.renew(
            caller.owner(), caller.current(), _key(request.key), request.handle
        )
        return pb.RenewFlightResponse(expire_time=time_message(ends_ms * 1_000_000), waiting=waiting)

    async def AbandonFlight(self, request: pb.AbandonFlightRequest, context: Context) -> pb.AbandonFlightResponse:
        became = await self._answers.abandon(
            caller.owner(),
            caller.current(),
            _key(request.key),
            request.handle,
            keep_if_awaited=request.keep_if_awaited,
        )
        return pb.AbandonFlightResponse(waiting=became.waiting, abandoned=became.abandoned)

    async def InvalidateEntries(
        self, request: pb.InvalidateEntriesRequest, context: Context
    ) -> pb.InvalidateEntriesResponse:
        await self._answers.invalidate(caller.owner())
        return pb.InvalidateEntriesResponse()

    async def GetCacheStats(self, request: pb.GetCacheStatsRequest, context: Context) -> pb.GetCacheStatsResponse:
        stats = await self._answers.stats(caller.owner())
        return pb.GetCacheStatsResponse(hits=stats.hits, misses=stats.misses, waits=stats.waits, stores=stats.stores)


def readable(answer: bytes) -> bool:
    """Whether the bytes are an answer."""
    try:
        pb.CachedAnswer.FromString(answer)
    except DecodeError:
        return False
    return True


def _fill(response: pb.LookupEntryResponse | pb.AwaitEntryResponse, found: Found) -> None:
    match found:
        case Entry(answer, documents_epoch):
            response.outcome = pb.LOOKUP_OUTCOME_HIT
            response.answer.ParseFromString(answer)
            response.documents_epoch = documents_epoch
        case Lead(handle, ends_ms):
            response.outcome = pb.LOOKUP_OUTCOME_LEAD
            response.handle = handle
            response.expire_time.CopyFrom(time_message(ends_ms * 1_000_000))
        case Wait(handle):
            response.outcome = pb.LOOKUP_OUTCOME_WAIT
            response.handle = handle
        case _:
            raise AssertionError("a full wait is refused by the use case")


def _key(key: pb.CacheKey) -> Key:
    return Key(
        key.question,
        key.system,
        key.model,
        key.model_revision,
        key.prompt,
        key.prompt_revision,
        key.output_schema,
        tuple(key.collections),
        key.passages,
        key.decoding,
        key.embedder,
        key.locale,
        key.end_user,
        key.personal,
    )


def _wait_s(deadline: float | None) -> float:
    if deadline is None:
        return _LONGEST_WAIT_S
    left = deadline - time.monotonic()
    return max(0.0, min(_LONGEST_WAIT_S, left - min(_MARGIN_S, left / 2)))


def _ms(duration: Duration) -> int:
    """Whole milliseconds; a duration whose parts contradict each other is out of any range."""
    if not 0 <= duration.nanos < 1_000_000_000:
        return -1
    return duration.seconds * 1000 + duration.nanos // 1_000_000
