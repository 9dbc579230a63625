"""A call that nobody of the mesh sent on, as behind Envoy: a trace of its own, the client's linked, its id given back."""

import asyncio
import secrets
import time
from pathlib import Path

from grpc import aio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.kit import call, telemetry
from tenantry.kit.assertion import sign_assertion
from tests.functional.quota.quota_room import serve
from tests.harness.poll import until
from tests.harness.room import KEY_ID

PATH = "/tenantry.api.quota.v1.LimitService/GetQuotaLimits"


async def test_a_client_s_trace_is_linked_and_the_request_s_id_is_told(valkey_books: str, tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    async for quota in serve(valkey_books, tmp_path, "network", (exporter,)):
        trace, request_id = secrets.token_hex(16), "req_4c635bdd-2c34-49ae-9b4e-e458298aa15e"
        caller = quota.acme
        metadata = (
            (call.ASSERTION, sign_assertion(quota.room.key, KEY_ID, caller, time.time())),
            (call.TENANT, caller.tenant),
            (call.REQUEST_ID, request_id),
            (call.CLIENT_TRACEPARENT, f"00-{trace}-{secrets.token_hex(8)}-01"),
            (call.TRACEPARENT, f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"),
        )
        async with aio.insecure_channel(quota.room.host.mesh) as channel:
            sent = channel.unary_unary(PATH)(pb.GetQuotaLimitsRequest().SerializeToString(), metadata=metadata)
            await sent
            assert (call.REQUEST_ID, request_id) in list(await sent.trailing_metadata())
            refused = channel.unary_unary(PATH)(b"", metadata=metadata[2:])
            assert await refused.code() is not None
            assert (call.REQUEST_ID, request_id) in list(await refused.trailing_metadata())

        async def is_sent() -> bool:
            await asyncio.to_thread(telemetry.flush)
            return any(span.links for span in exporter.get_finished_spans())

        await until(is_sent, 10, 0.1)
        (span, *_) = [one for one in exporter.get_finished_spans() if one.links]
        assert span.parent is None and span.context is not None
        assert f"{span.links[0].context.trace_id:032x}" == trace != f"{span.context.trace_id:032x}"
