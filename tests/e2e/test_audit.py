"""What is done and refused in any service is in the log of whom it is about, once."""

from typing import Any

import grpc
import pytest

from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.tenancy.v1 import audit_service_pb2 as pb
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import AuditServiceStub
from tests.harness.mesh import RunningMesh
from tests.harness.poll import until


def _log(mesh: RunningMesh, key: str) -> list[Any]:
    request = pb.ListAuditEventsRequest(from_number=1)
    request.page.size = 1000
    return list(mesh.stub(AuditServiceStub, key).ListAuditEvents(request).events)


async def test_what_administrators_change_in_every_service_is_in_the_tenants_log(mesh: RunningMesh) -> None:
    acme = mesh.tenant()
    prompts, models = mesh.stub(PromptServiceStub, acme.key), mesh.stub(ModelServiceStub, acme.key)
    limits = mesh.stub(LimitServiceStub, mesh.operator_key)
    source = prompt_pb.PromptSource(user="Hello")
    made = prompts.CreatePrompt(prompt_pb.CreatePromptRequest(prompt="p", source=source)).prompt
    request = prompt_pb.UpdatePromptRequest(prompt="p", source=source, version=made.version)
    changed = prompts.UpdatePrompt(request).prompt
    prompts.DeletePrompt(prompt_pb.DeletePromptRequest(prompt="p", version=changed.version))
    models.UpdateRoutingPolicy(model_pb.UpdateRoutingPolicyRequest(policy=model_pb.RoutingPolicy()))
    limits.UpdateQuotaLimits(
        limit_pb.UpdateQuotaLimitsRequest(tenant=acme.tenant, overrides=limit_pb.QuotaLimits(requests_per_minute=7))
    )
    wanted = {
        ("prompts", "CreatePrompt"),
        ("prompts", "UpdatePrompt"),
        ("prompts", "DeletePrompt"),
        ("models", "UpdateRoutingPolicy"),
        ("quota", "UpdateQuotaLimits"),
    }
    await until(lambda: wanted <= {(one.service, one.action) for one in _log(mesh, acme.key)}, 10, 0.1)
    done = [(one.service, one.action) for one in _log(mesh, acme.key) if one.service]
    assert sorted(done) == sorted(wanted)


async def test_who_lacks_a_scope_is_in_its_own_log_by_kind(mesh: RunningMesh) -> None:
    acme = mesh.tenant()
    bare = mesh.stub(PromptServiceStub, mesh.key(acme.tenant, ["cache.read"]))
    for _ in range(20):
        with pytest.raises(grpc.RpcError):
            bare.ListPrompts(prompt_pb.ListPromptsRequest())
    foreign = mesh.stub(PromptServiceStub, acme.key)
    with pytest.raises(grpc.RpcError):
        foreign.ListPrompts(prompt_pb.ListPromptsRequest(tenant="globex"))

    def kinds() -> set[tuple[str, str, str]]:
        return {(one.service, one.action, one.reason) for one in _log(mesh, acme.key) if one.outcome != "OK"}

    wanted = {("prompts", "ListPrompts", "SCOPE_MISSING"), ("prompts", "ListPrompts", "NOT_FOUND")}
    await until(lambda: kinds() == wanted, 10, 0.1)
    assert len([one for one in _log(mesh, acme.key) if one.outcome != "OK"]) <= 3


async def test_strangers_are_counted_in_the_platforms_log(mesh: RunningMesh) -> None:
    acme = mesh.tenant()
    before = len(_log(mesh, acme.key))
    for stub in (mesh.stub(PromptServiceStub), mesh.stub(PromptServiceStub, "tnt_" + "x" * 52)):
        for _ in range(50):
            with pytest.raises(grpc.RpcError):
                stub.ListPrompts(prompt_pb.ListPromptsRequest(tenant=acme.tenant))

    def reasons() -> set[str]:
        return {one.reason for one in _log(mesh, mesh.operator_key) if one.outcome == "UNAUTHENTICATED"}

    await until(lambda: {"CREDENTIAL_MISSING", "CREDENTIAL_INVALID"} <= reasons(), 10, 0.1)
    assert len(_log(mesh, acme.key)) == before
