"""Getting more out of a limit than it allows: few requests that cost much, and a request's id used again."""

import secrets
from typing import Any

import grpc
import pytest

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.kit import call
from tests.attack.mesh.contracts import outcome_of
from tests.harness.mesh import RunningMesh, stub_of


def test_a_token_expensive_request_under_a_limit_of_requests(mesh: RunningMesh) -> None:
    poor = mesh.tenant(tier="pro")
    operator = stub_of(LimitServiceStub, mesh.channel(mesh.operator_key))
    # Requests as many as it likes, of few tokens.
    limits = limit_pb.QuotaLimits(requests_per_minute=100_000, tokens_per_minute=1_000, token_burst=2_000)
    operator.UpdateQuotaLimits(limit_pb.UpdateQuotaLimitsRequest(tenant=poor.tenant, overrides=limits))
    channel = mesh.channel(poor.key)
    gateway, own = stub_of(GatewayServiceStub, channel), stub_of(LimitServiceStub, channel)

    def ask(question: str, most: int) -> tuple[str, str]:
        query = pb.GenerationQuery(question=question, max_output_tokens=most, passages=1, cache=pb.CACHE_USE_OFF)
        try:
            gateway.GenerateContent(pb.GenerateContentRequest(query=query))
        except grpc.RpcError as refused:
            return outcome_of(refused)
        return "OK", ""

    for question, most in (("When? " * 2_000, 10), ("When?", 4_000)):
        assert ask(question, most) == ("RESOURCE_EXHAUSTED", "LARGER_THAN_LIMIT")
    # Refused before anything was done: neither a hold nor a debt is left.
    left = own.GetQuotaUsage(limit_pb.GetQuotaUsageRequest())
    assert (left.requests_running, left.tokens_available) == (0, 2_000)
    assert ask("When?", 200) == ("OK", "")


@pytest.mark.parametrize("name", [call.REQUEST_ID, "x-request-id"])
def test_a_request_s_id_used_again_is_no_request_s_id(mesh: RunningMesh, name: str) -> None:
    own, other = mesh.tenant(), mesh.tenant()
    request = pb.GenerateContentRequest(query=pb.GenerationQuery(question=f"Who? {secrets.token_hex(4)}"))

    def ask(key: str, *more: tuple[str, str]) -> Any:
        return stub_of(GatewayServiceStub, mesh.channel(key)).GenerateContent(request, metadata=more)

    first = ask(own.key).summary
    again = [ask(key, (name, first.request_id)).summary for key in (own.key, own.key, other.key)]
    assert len({first.request_id, *(one.request_id for one in again)}) == 4
    # Counted each time, whoever sent it.
    assert [one.usage.request_id for one in again] == [one.request_id for one in again]
    assert not again[2].usage.cache_hit
