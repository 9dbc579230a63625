"""Envoy's two questions answered by servers that look at nothing: what asking costs, whoever answers.

`python -m tests.bench.bare TENANCY TOKEN KEY` prints its address as a line of JSON and serves until its standard input ends.
What it says of the caller is tenancy's own word, taken again from time to time.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import uvloop
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tenantry.api.envoy.service.auth.v3 import external_auth_pb2 as auth_pb
from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2
from tenantry.kit import call
from tests.bench.load import client, raw

CHECK = "/envoy.service.auth.v3.Authorization/Check"
LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
# An assertion lives two minutes.
_AGAIN_S = 20.0


async def _answer(tenancy: str, token: str, key: str) -> bytes:
    """What tenancy says to Envoy of the key."""
    asked = auth_pb.CheckRequest()
    sent = asked.attributes.request.http.header_map.headers.add()
    sent.key, sent.raw_value = "authorization", f"Bearer {key}".encode()
    channel = client(tenancy)
    try:
        return await raw(channel, CHECK)(asked.SerializeToString(), timeout=10, metadata=((call.SERVICE, token),))
    finally:
        await channel.close()


async def _serve(tenancy: str, token: str, key: str) -> None:
    answers = {
        CHECK: await _answer(tenancy, token, key),
        LIMIT: rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK).SerializeToString(),
    }

    class Bare(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            path = handler_call_details.method

            async def say(_request: bytes, _context: Any) -> bytes:
                return answers[path]

            return grpc.unary_unary_rpc_method_handler(say) if path in answers else None

    async def renew() -> None:
        while True:
            await asyncio.sleep(_AGAIN_S)
            answers[CHECK] = await _answer(tenancy, token, key)

    server = aio.server(handlers=[Bare()])
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("tenancy", "quota"):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    renewing = asyncio.create_task(renew())
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    renewing.cancel()
    await server.stop(0.1)


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
