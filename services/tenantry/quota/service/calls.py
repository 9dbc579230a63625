"""The limit of all calls a minute, by our contract and by Envoy's."""

from typing import Any

from grpc import aio

from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2 as rls_pb
from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2_grpc as rls_grpc
from tenantry.api.quota.v1 import call_service_pb2 as call_pb
from tenantry.api.quota.v1 import call_service_pb2_grpc as call_grpc
from tenantry.kit import caller, envoy
from tenantry.kit.errors import InvalidArgument, ResourceExhausted, Unavailable
from tenantry.kit.owner import owner_by
from tenantry.quota.calls import Calls

Context = aio.ServicerContext[Any, Any]


class CallService(call_grpc.CallServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def AdmitCall(self, request: call_pb.AdmitCallRequest, context: Context) -> call_pb.AdmitCallResponse:
        current = caller.current()
        await self._calls.admit(owner_by(current.organisation, current.tenant))
        return call_pb.AdmitCallResponse()


class RateLimitService(rls_grpc.RateLimitServiceServicer):
    """Envoy's contract. Whose a call is comes from Envoy alone, which has it from tenancy's answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ShouldRateLimit(self, request: rls_pb.RateLimitRequest, context: Context) -> rls_pb.RateLimitResponse:
        if len(request.descriptors) != 1:
            raise InvalidArgument("descriptors", "is not one: a call has one owner")
        descriptor = request.descriptors[0]
        if descriptor.is_negative_hits:
            # A counter that calls leave again would have to know which it still holds: it would admit more than its burst.
            raise InvalidArgument("descriptors[0].is_negative_hits", "is set: calls are never given back")
        named = {entry.key: entry.value for entry in descriptor.entries}
        hits = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
        owner = owner_by(named.get(envoy.ORGANISATION, ""), named.get(envoy.TENANT, ""))
        try:
            await self._calls.admit(owner, hits)
        except (ResourceExhausted, Unavailable) as refused:
            # Unavailable too: as an error of this RPC it would reach the client without its reason.
            return rls_pb.RateLimitResponse(
                overall_code=rls_pb.RateLimitResponse.OVER_LIMIT,
                response_headers_to_add=envoy.refusal_headers(refused),
                raw_body=refused.message.encode(),
            )
        return rls_pb.RateLimitResponse(overall_code=rls_pb.RateLimitResponse.OK)
