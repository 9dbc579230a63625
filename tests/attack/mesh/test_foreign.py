"""What belongs to another tenant, asked for in every way that the contracts allow: it is as if it were not there."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from tenantry.api.cache.v1 import cache_service_pb2 as cache_pb
from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.insight.v1 import trace_service_pb2 as trace_pb
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.kit import call
from tenantry.tenancy.roles import ORGANISATION_ADMIN, TENANT_ADMIN
from tests.attack.mesh.conftest import People
from tests.attack.mesh.contracts import Rpc, outcome_of, rpcs
from tests.harness.mesh import RunningMesh, TenantKeys, stub_of

QUESTION = "When does the vault open?"
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")


@dataclass
class Victim:
    """A tenant with something of each kind, and a thief with a key of his own tenant."""

    mesh: RunningMesh
    keys: TenantKeys
    thief: TenantKeys
    answer: pb.GenerateContentResponse
    stubs: dict[Any, Any] = field(default_factory=dict)

    def call(self, stub: Any, method: str, request: Any, *, thief: bool = True) -> Any:
        """The thief's call at the edge (or the victim's own): the answer, or code and reason."""
        key = self.thief.key if thief else self.keys.key
        try:
            return getattr(stub_of(stub, self.mesh.channel(key)), method)(request)
        except grpc.RpcError as error:
            return outcome_of(error)


@pytest.fixture(scope="session")
def victim(people: People) -> Victim:
    mesh, owner = people.mesh, people.other
    mesh.upload(owner.key, {"vault": "# Vault\n\nThe vault opens at midnight with the word larkspur."})
    channel = mesh.channel(owner.key)
    source = prompt_pb.PromptSource(system="The word is larkspur.", user="{{ question }}")
    stub_of(PromptServiceStub, channel).CreatePrompt(prompt_pb.CreatePromptRequest(prompt="vault", source=source))
    gateway = stub_of(GatewayServiceStub, channel)
    request = pb.GenerateContentRequest(query=pb.GenerationQuery(question=QUESTION, end_user="victim-user"))
    answers = [gateway.GenerateContent(request) for _ in range(3)]
    request.query.end_user = "only-at-victim"
    answers.append(gateway.GenerateContent(request))
    assert "larkspur" in answers[0].text and answers[-1].summary.usage.cache_hit
    # Afterwards, since nobody answers there: it is chosen before the built-in one from now on.
    model = model_pb.Model(
        model="vault-model",
        provider=model_pb.PROVIDER_OPENAI,
        provider_model="fine-tune",
        base_url="http://127.0.0.1:9/v1",
        tenant=owner.tenant,
        max_output_tokens=100,
    )
    stub_of(ModelServiceStub, channel).RegisterModel(model_pb.RegisterModelRequest(model=model))
    return Victim(mesh, owner, people.own, answers[0])


def test_a_foreign_document_searched_for_listed_and_deleted(victim: Victim) -> None:
    for query in ("larkspur", "vault opens midnight", QUESTION):
        request = document_pb.SearchPassagesRequest(query=query, limit=50)
        assert not [
            one
            for one in victim.call(DocumentServiceStub, "SearchPassages", request).passages
            if "larkspur" in one.text
        ]
    listed = victim.call(DocumentServiceStub, "ListDocuments", document_pb.ListDocumentsRequest())
    assert "vault" not in {one.document for one in listed.documents}
    deleted = victim.call(DocumentServiceStub, "DeleteDocument", document_pb.DeleteDocumentRequest(document="vault"))
    assert not deleted.deleted_now
    mine = victim.call(DocumentServiceStub, "ListDocuments", document_pb.ListDocumentsRequest(), thief=False)
    assert "vault" in {one.document for one in mine.documents}


def test_a_foreign_document_and_cached_answer_asked_for(victim: Victim) -> None:
    tries: list[dict[str, Any]] = [
        {},
        {"end_user": "victim-user"},
        {"end_user": "victim-user", "personal": True},
        {"collections": ["default"]},
    ]
    for more in tries:
        request = pb.GenerateContentRequest(query=pb.GenerationQuery(question=QUESTION, **more))
        answer = victim.call(GatewayServiceStub, "GenerateContent", request)
        assert answer.text and "larkspur" not in str(answer)


def test_a_foreign_cached_answer_looked_up_by_a_service_for_another_caller(victim: Victim, people: People) -> None:
    stub = stub_of(CacheServiceStub, people.channel(people.mesh.addresses["cache"]))
    key = cache_pb.CacheKey(question="vault", model="extractive", model_revision="1", prompt="answer", passages=8)
    gateway = (call.SERVICE, people.tokens["gateway"])
    owner, thief = ((gateway, *people.assertion(one)) for one in (people.other.key, people.own.key))
    led = stub.LookupEntry(cache_pb.LookupEntryRequest(key=key), metadata=owner)
    answer = cache_pb.CachedAnswer(text="larkspur")
    stub.StoreEntry(cache_pb.StoreEntryRequest(key=key, handle=led.handle, answer=answer), metadata=owner)
    assert stub.LookupEntry(cache_pb.LookupEntryRequest(key=key), metadata=owner).answer.text == "larkspur"
    found = stub.LookupEntry(cache_pb.LookupEntryRequest(key=key), metadata=thief)
    assert found.outcome == cache_pb.LOOKUP_OUTCOME_LEAD and not found.answer.text
    for method, request in (
        ("RenewFlight", cache_pb.RenewFlightRequest(key=key, handle=led.handle)),
        ("StoreEntry", cache_pb.StoreEntryRequest(key=key, handle=led.handle, answer=answer)),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            getattr(stub, method)(request, metadata=thief)
        assert outcome_of(refused.value) == ("ABORTED", "HANDLE_LOST")


def test_a_foreign_prompt(victim: Victim) -> None:
    named: dict[str, Any] = {"prompt": "vault"}
    other = victim.keys.tenant
    tries = (
        ("RenderPrompt", prompt_pb.RenderPromptRequest(**named, variables={"question": "?"})),
        ("GetPrompt", prompt_pb.GetPromptRequest(**named)),
        ("GetPrompt", prompt_pb.GetPromptRequest(**named, tenant=other)),
        ("ListPromptRevisions", prompt_pb.ListPromptRevisionsRequest(**named)),
        ("ListPromptRevisions", prompt_pb.ListPromptRevisionsRequest(**named, tenant=other)),
        ("ListPrompts", prompt_pb.ListPromptsRequest(tenant=other)),
        ("RollbackPrompt", prompt_pb.RollbackPromptRequest(**named, revision=1, version=1, tenant=other)),
        ("DeletePrompt", prompt_pb.DeletePromptRequest(**named, version=1, tenant=other)),
        ("DeletePrompt", prompt_pb.DeletePromptRequest(**named, version=1)),
    )
    for method, request in tries:
        assert victim.call(PromptServiceStub, method, request) == NOT_FOUND, request
    asked = pb.GenerateContentRequest(query=pb.GenerationQuery(question="?", prompt="vault"))
    assert victim.call(GatewayServiceStub, "GenerateContent", asked) == NOT_FOUND


def test_a_foreign_model(victim: Victim) -> None:
    listed = victim.call(ModelServiceStub, "ListModels", model_pb.ListModelsRequest())
    assert "vault-model" not in {one.model for one in listed.models}
    chosen = victim.call(ModelServiceStub, "SelectModel", model_pb.SelectModelRequest(model="vault-model"))
    absent = victim.call(ModelServiceStub, "SelectModel", model_pb.SelectModelRequest(model="absent-model"))
    assert chosen == absent and isinstance(chosen, tuple)
    asked = pb.GenerateContentRequest(query=pb.GenerationQuery(question="?", model="vault-model"))
    assert victim.call(GatewayServiceStub, "GenerateContent", asked) == absent
    removed = model_pb.DeregisterModelRequest(model="vault-model", tenant=victim.keys.tenant)
    assert victim.call(ModelServiceStub, "DeregisterModel", removed) == NOT_FOUND


def test_a_foreign_trace(victim: Victim) -> None:
    summary = victim.answer.summary
    for name in (summary.trace_id, summary.request_id, summary.trace_id.upper(), f" {summary.trace_id}"):
        heard = victim.call(TraceServiceStub, "GetTrace", trace_pb.GetTraceRequest(trace_id=name))
        assert heard == NOT_FOUND or heard == ("INVALID_ARGUMENT", "INVALID_FIELD")
    listed = victim.call(TraceServiceStub, "ListTraces", trace_pb.ListTracesRequest())
    assert summary.trace_id not in {one.trace_id for one in listed.traces}


def test_foreign_usage(victim: Victim) -> None:
    other, request_id = victim.keys.tenant, victim.answer.summary.request_id
    assert victim.call(UsageServiceStub, "GetUsage", usage_pb.GetUsageRequest(tenant=other)) == NOT_FOUND
    assert (
        victim.call(UsageServiceStub, "ListUsageRecords", usage_pb.ListUsageRecordsRequest(tenant=other)) == NOT_FOUND
    )
    own = victim.call(UsageServiceStub, "ListUsageRecords", usage_pb.ListUsageRecordsRequest(request_id=request_id))
    assert not own.records
    grouped = usage_pb.GetUsageRequest(grouping=usage_pb.USAGE_GROUPING_END_USER)
    assert "only-at-victim" not in {one.group for one in victim.call(UsageServiceStub, "GetUsage", grouped).groups}


def naming() -> Iterator[tuple[Rpc, tuple[str, ...]]]:
    """Each RPC in whose request a tenant is named, and where."""
    for rpc in rpcs():
        # A new tenant's id is unique in the whole mesh, so that CreateTenant must say when it is taken.
        if rpc.access.audience != "admin" or rpc.method.name == "CreateTenant":
            continue
        for one in rpc.method.input_type.fields:
            if one.name == "tenant" and one.type == FieldDescriptor.TYPE_STRING:
                yield rpc, ("tenant",)
            elif one.message_type is not None and "tenant" in one.message_type.fields_by_name:
                yield rpc, (one.name, "tenant")


@pytest.mark.parametrize(("rpc", "place"), tuple(naming()), ids=lambda one: str(one) if isinstance(one, Rpc) else "")
@pytest.mark.parametrize("role", [TENANT_ADMIN, ORGANISATION_ADMIN])
def test_a_foreign_tenant_named_in_an_admin_rpc_sounds_like_one_that_is_not(
    people: People, rpc: Rpc, place: tuple[str, ...], role: str
) -> None:
    def heard(tenant: str) -> tuple[str, str]:
        message: Any = GetMessageClass(rpc.method.input_type)()
        target = message
        for step in place[:-1]:
            target = getattr(target, step)
        target.tenant = tenant
        metadata = (("authorization", f"Bearer {people.keys[role]}"),)
        try:
            people.channel(people.mesh.edge).unary_unary(rpc.path)(
                message.SerializeToString(), metadata=metadata, timeout=10
            )
        except grpc.RpcError as error:
            code, _ = outcome_of(error)
            return code, str(error.details()).replace(tenant, "TENANT")
        return "OK", ""

    foreign, absent = heard(people.other.tenant), heard(f"absent-{secrets.token_hex(4)}")
    assert foreign == absent
    assert foreign[0] in ("NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED")
