"""A served cache with two tenants of its own, and what tests do with it."""

import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter

from tenantry.api.cache.v1 import cache_service_pb2 as pb
from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.cache import server
from tenantry.cache.entry import Terms
from tenantry.cache.settings import Settings
from tenantry.kit.caller import Caller
from tenantry.kit.host import Hosted
from tests.harness.room import Kind, Served, caller_of, served

HIT, LEAD, WAIT = pb.LOOKUP_OUTCOME_HIT, pb.LOOKUP_OUTCOME_LEAD, pb.LOOKUP_OUTCOME_WAIT
ANSWER = pb.CachedAnswer(
    text="Six weeks.",
    citations=b"\x00\xff cited",
    provider="extractive",
    model="m",
    model_revision="1",
    input_tokens=7,
    output_tokens=3,
    finish_reason="stop",
)


def key(question: str = "How long?", **fields: Any) -> pb.CacheKey:
    """A key with a question."""
    made: dict[str, Any] = {"question": question, "model": "m"} | fields
    return pb.CacheKey(**made)


@dataclass(frozen=True, slots=True)
class Cache:
    """A served cache with callers of the tenants `acme` and `globex`, whose ids are this test's own."""

    room: Served
    acme: Caller
    globex: Caller

    @property
    def stub(self) -> CacheServiceStub:
        """As the gateway calls it."""
        return CacheServiceStub(self.room.channel(service="gateway"))

    @property
    def outside(self) -> CacheServiceStub:
        """As a tenant calls it."""
        return CacheServiceStub(self.room.channel())

    @property
    def lifecycle(self) -> LifecycleServiceStub:
        return LifecycleServiceStub(self.room.channel(service="tenancy"))

    async def look_up(
        self, caller: Caller, key: pb.CacheKey, documents_epoch: int | None = None
    ) -> pb.LookupEntryResponse:
        with self.room.calling(caller):
            return await self.stub.LookupEntry(pb.LookupEntryRequest(key=key, documents_epoch=documents_epoch))

    async def wait(
        self, caller: Caller, key: pb.CacheKey, handle: str, timeout_s: float = 10.0
    ) -> pb.AwaitEntryResponse:
        with self.room.calling(caller):
            return await self.stub.AwaitEntry(pb.AwaitEntryRequest(key=key, handle=handle), timeout=timeout_s)

    async def store(
        self, caller: Caller, key: pb.CacheKey, handle: str, answer: pb.CachedAnswer = ANSWER, epoch: int = 1
    ) -> None:
        request = pb.StoreEntryRequest(key=key, handle=handle, answer=answer, documents_epoch=epoch)
        with self.room.calling(caller):
            await self.stub.StoreEntry(request)

    async def fill(self, caller: Caller, key: pb.CacheKey, text: str = "Six weeks.", epoch: int = 1) -> None:
        """Look up, lead, and store an answer with this text."""
        led = await self.look_up(caller, key)
        assert led.outcome == LEAD
        await self.store(caller, key, led.handle, pb.CachedAnswer(text=text), epoch)

    async def renew(self, caller: Caller, key: pb.CacheKey, handle: str) -> pb.RenewFlightResponse:
        with self.room.calling(caller):
            return await self.stub.RenewFlight(pb.RenewFlightRequest(key=key, handle=handle))

    async def abandon(
        self, caller: Caller, key: pb.CacheKey, handle: str, *, keep_if_awaited: bool = False
    ) -> pb.AbandonFlightResponse:
        request = pb.AbandonFlightRequest(key=key, handle=handle, keep_if_awaited=keep_if_awaited)
        with self.room.calling(caller):
            return await self.stub.AbandonFlight(request)

    async def invalidate(self, caller: Caller) -> None:
        with self.room.calling(caller):
            await self.outside.InvalidateEntries(pb.InvalidateEntriesRequest())

    async def stats(self, caller: Caller) -> tuple[int, int, int, int]:
        """Hits, misses, waits, stores."""
        with self.room.calling(caller):
            stats = await self.outside.GetCacheStats(pb.GetCacheStatsRequest())
        return stats.hits, stats.misses, stats.waits, stats.stores


async def serve(
    url: str, state: Path, kind: Kind, terms: Terms | None = None, exporters: tuple[SpanExporter, ...] = ()
) -> AsyncGenerator[Cache]:
    """Serve cache on this Redis, which other tests use too."""
    settings = Settings(url, state / "secrets" / "cache.key", terms or Terms())
    number = secrets.token_hex(4)
    async with served(Hosted("cache", server.build, settings), state=state, kind=kind, exporters=exporters) as room:
        callers = [
            caller_of(f"{name}-{number}", f"{name}-{number}-org", scopes={"cache.read", "cache.write"})
            for name in ("acme", "globex")
        ]
        yield Cache(room, *callers)
