"""Attacks on another tenant's traces by a receipt: what was not proven must not name the tenant on a span."""

import asyncio
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.api.common.v1.usage_pb2 import Usage
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.kit import telemetry
from tenantry.kit.errors import PermissionDenied
from tests.functional.quota.quota_room import serve


async def _settling(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    await asyncio.to_thread(telemetry.flush)  # it waits for this loop
    named = [span for span in exporter.get_finished_spans() if span.name.endswith("CommitReservation")]
    exporter.clear()
    return named


def _tenant(span: ReadableSpan) -> object:
    return (span.attributes or {}).get(telemetry.TENANT)


async def test_a_settlement_without_a_caller_is_the_tenants_and_a_forged_one_is_nobodys(
    valkey_books: str, tmp_path: Path
) -> None:
    exporter = InMemorySpanExporter()
    async for quota in serve(valkey_books, tmp_path, "network", (exporter,)):
        receipt = await quota.reserve(quota.acme)
        await quota.commit(receipt)
        spans = await _settling(exporter)
        assert spans
        assert [_tenant(span) for span in spans] == [quota.acme.tenant] * len(spans)
        receipt.held_tokens += 1
        with pytest.raises(PermissionDenied):
            await quota.reservations.CommitReservation(
                pb.CommitReservationRequest(receipt=receipt, usage=Usage(output_tokens=1))
            )
        spans = await _settling(exporter)
        assert spans
        assert [_tenant(span) for span in spans] == [None] * len(spans)
