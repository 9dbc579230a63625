"""Metrics leave a process for a collector, with tier, method and outcome, and with nobody's name."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as grpc_pb


class Collector(grpc_pb.MetricsServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.got: list[pb.ExportMetricsServiceRequest] = []
        self.came = threading.Event()

    async def Export(self, request: pb.ExportMetricsServiceRequest, context: Any) -> pb.ExportMetricsServiceResponse:
        self.got.append(request)
        self.came.set()
        return pb.ExportMetricsServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector = Collector()
    server = aio.server()
    grpc_pb.add_MetricsServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield collector, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_a_processs_durations_reach_the_collector_by_tier_and_name_no_tenant(tmp_path: Any) -> None:
    # A process of its own: OpenTelemetry sets a meter provider once a process.
    from tests.harness.operator import ROOT

    script = tmp_path / "serve.py"
    script.write_text(_SCRIPT)
    async with collecting() as (collector, endpoint):
        import sys

        process = await asyncio.create_subprocess_exec(sys.executable, str(script), endpoint, str(tmp_path), cwd=ROOT)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    text = "".join(str(one) for one in collector.got)
    assert "rpc.server.duration" in text and "RenderPrompt" in text and '"pro"' in text
    assert "acme" not in text and "canary-question" not in text


_SCRIPT = """
import asyncio, sys
from pathlib import Path
from dataclasses import replace
from tenantry.kit import settings as mesh
from tenantry.kit.host import Hosted
from tenantry.prompts import server
from tenantry.prompts.settings import Settings
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
sys.path.insert(0, ".")
from tests.harness import room as rooms

async def main():
    endpoint, state = sys.argv[1], Path(sys.argv[2])
    hosted = Hosted("prompts", server.build, Settings(f"sqlite:///{state}/p.db"))
    async with rooms.served(hosted, state=state, otlp_metrics_endpoint=endpoint) as room:
        tenant = ProvisionTenantRequest(tenant="acme", organisation="acme-org", tier="pro")
        await LifecycleServiceStub(room.channel(service="tenancy")).ProvisionTenant(tenant)
        with room.calling(rooms.caller_of("acme", scopes={"prompts.read"})):
            request = pb.RenderPromptRequest(variables={"question": "canary-question"})
            await PromptServiceStub(room.channel()).RenderPrompt(request)

asyncio.run(main())
"""
