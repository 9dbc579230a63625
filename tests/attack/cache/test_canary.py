"""Content in what the cache writes about its work: a marked text goes through every RPC and must be found nowhere."""

import asyncio
import logging
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.api.cache.v1 import cache_service_pb2 as pb
from tenantry.kit import telemetry
from tenantry.kit.errors import TenantryError
from tests.functional.cache.cache_room import WAIT, Cache, key, serve

CANARY = "canary-7c1f"


async def use_all(cache: Cache) -> list[TenantryError]:
    """Every RPC with marked content, also where it is refused; what was refused."""
    marked = key(CANARY, system=CANARY, output_schema=CANARY, decoding=CANARY, personal=True, end_user=CANARY)
    answer = pb.CachedAnswer(text=CANARY, citations=CANARY.encode())
    refused: list[TenantryError] = []
    led = await cache.look_up(cache.acme, marked)
    place = await cache.look_up(cache.acme, marked)
    assert (await cache.wait(cache.acme, marked, place.handle, 0.2)).outcome == WAIT
    await cache.renew(cache.acme, marked, led.handle)
    await cache.store(cache.acme, marked, led.handle, answer)
    await cache.look_up(cache.acme, marked)
    await cache.abandon(cache.acme, marked, led.handle)
    too_long = key(CANARY * 100_000, locale=CANARY * 100, collections=[CANARY * 100])
    for call in (
        cache.look_up(cache.acme, too_long),
        cache.renew(cache.acme, marked, CANARY),
        cache.renew(cache.acme, marked, led.handle),
        cache.store(cache.acme, marked, "0" * 32, answer),
        cache.store(cache.acme, marked, "0" * 32, pb.CachedAnswer(text=CANARY * 200_000)),
    ):
        with pytest.raises(TenantryError) as error:
            await call
        refused.append(error.value)
    return refused


async def test_content_in_logs_spans_and_errors(
    valkey_cache: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spans = InMemorySpanExporter()
    refused: list[TenantryError] = []
    caplog.set_level(logging.DEBUG)
    async for cache in serve(valkey_cache, tmp_path, "network", exporters=(spans,)):
        refused += await use_all(cache)
        await asyncio.to_thread(telemetry.flush)
    written = [one.to_json() for one in spans.get_finished_spans()]
    assert len(written) > 10
    shown = [repr((one.message, one.metadata, getattr(one, "violations", []))) for one in refused]
    logged = [repr((one.getMessage(), vars(one))) for one in caplog.records if one.name.startswith("tenantry")]
    assert not [text for text in (*written, *shown, *logged) if CANARY in text]
