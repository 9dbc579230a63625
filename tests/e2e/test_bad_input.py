"""What goes wrong outside: bad documents, callers, names and providers. Each gives the status that its contract names."""

import secrets
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tenantry.api.common.v1 import usage_pb2
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit.errors import TenantryError
from tenantry.kit.status import from_rpc_error
from tests.e2e.conftest import Client, client_of, register
from tests.harness.mesh import RunningMesh, stub_of
from tests.harness.poll import until
from tests.harness.provider import ProviderServer, Reply

SHOP = {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."}


def refusal(call: Callable[[], Any]) -> TenantryError:
    """How the call was refused; a stream is read to its end."""
    with pytest.raises(grpc.RpcError) as refused:
        answer = call()
        if hasattr(answer, "__next__"):
            list(answer)
    error: Any = refused.value
    return from_rpc_error(error, "")


def told(error: TenantryError) -> tuple[str, str]:
    return error.code, error.reason.value


@pytest.fixture(scope="session")
def shop(mesh: RunningMesh) -> Client:
    return client_of(mesh, "shop", SHOP)


def send(client: Client, *requests: document_pb.UpsertDocumentsRequest) -> list[Any]:
    return list(stub_of(DocumentServiceStub, client.channel).UpsertDocuments(iter(requests)))


@pytest.mark.parametrize(
    "text", [b"", b"  \n\t ", b"caf\xe9 \xff\xfe", b"a\x00b"], ids=["empty", "blank", "latin-1", "nul"]
)
def test_a_bad_document_is_refused_and_those_after_it_are_stored(shop: Client, text: bytes) -> None:
    good = f"good-{secrets.token_hex(3)}"
    bad, fine = send(
        shop,
        document_pb.UpsertDocumentsRequest(document="bad", text=text),
        document_pb.UpsertDocumentsRequest(document=good, text=b"A good one."),
    )
    assert (bad.outcome, bad.field) == (document_pb.UPSERT_OUTCOME_REFUSED, "text") and bad.description
    assert fine.outcome == document_pb.UPSERT_OUTCOME_CREATED
    listed = stub_of(DocumentServiceStub, shop.channel).ListDocuments(document_pb.ListDocumentsRequest()).documents
    assert good in {one.document for one in listed} and "bad" not in {one.document for one in listed}


def test_a_document_of_32_mb_is_refused_and_nothing_of_it_is_kept(shop: Client) -> None:
    request = document_pb.UpsertDocumentsRequest(document="huge", text=b"x" * 32 * 1024 * 1024)
    refused = refusal(lambda: send(shop, request))
    assert refused.code in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    listed = stub_of(DocumentServiceStub, shop.channel).ListDocuments(document_pb.ListDocumentsRequest()).documents
    assert "huge" not in {one.document for one in listed}
    assert "nine" in shop.ask("When does the shop open?").text


@pytest.mark.parametrize("key", ["junk", "tnt_" + "x" * 60, "x" * 4000], ids=["junk", "formed", "long"])
def test_a_wrong_key_is_unauthenticated(mesh: RunningMesh, key: str) -> None:
    stub = stub_of(DocumentServiceStub, mesh.channel(key))
    assert told(refusal(lambda: stub.ListDocuments(document_pb.ListDocumentsRequest()))) == (
        "UNAUTHENTICATED",
        "CREDENTIAL_INVALID",
    )


def test_a_revoked_key_is_unauthenticated_within_five_seconds(mesh: RunningMesh) -> None:
    client = client_of(mesh, "revoked", {})
    keys = stub_of(KeyServiceStub, mesh.channel(mesh.operator_key))
    made = keys.CreateApiKey(key_pb.CreateApiKeyRequest(tenant=client.keys.tenant, scopes=["documents.read"]))
    stub = stub_of(DocumentServiceStub, mesh.channel(made.secret))
    stub.ListDocuments(document_pb.ListDocumentsRequest())
    keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(key_id=made.key.key_id))
    end = time.monotonic() + 5
    while True:
        try:
            stub.ListDocuments(document_pb.ListDocumentsRequest())
        except grpc.RpcError as error:
            failure: Any = error
            assert failure.code() == grpc.StatusCode.UNAUTHENTICATED
            return
        assert time.monotonic() < end


def test_an_unknown_tenant_is_not_found(mesh: RunningMesh) -> None:
    tenants = stub_of(TenantServiceStub, mesh.channel(mesh.operator_key))
    limits = stub_of(LimitServiceStub, mesh.channel(mesh.operator_key))
    for call in (
        lambda: tenants.GetTenant(tenant_pb.GetTenantRequest(tenant="nobody-here")),
        lambda: tenants.DeleteTenant(tenant_pb.DeleteTenantRequest(tenant="nobody-here")),
        lambda: limits.GetQuotaLimits(limit_pb.GetQuotaLimitsRequest(tenant="nobody-here")),
    ):
        refused = refusal(call)
        assert told(refused) == ("NOT_FOUND", "NOT_FOUND") and refused.metadata["kind"] == "tenant"


@pytest.mark.parametrize("tenant", ["Acme", "a_b", "-a", "a" * 64, "a b", "ä"])
def test_an_id_of_the_wrong_form_is_refused_and_its_field_named(mesh: RunningMesh, tenant: str) -> None:
    tenants = stub_of(TenantServiceStub, mesh.channel(mesh.operator_key))
    request = tenant_pb.CreateTenantRequest(tenant=tenant, organisation="some-org", tier=tenant_pb2.TIER_PRO)
    refused: Any = refusal(lambda: tenants.CreateTenant(request))
    assert told(refused) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert "tenant" in {field for field, _ in refused.violations}


FAULTS = {
    "500": (Reply(status=500), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    "429": (Reply(status=429, retry_after="7"), "RESOURCE_EXHAUSTED", "PROVIDER_RATE_LIMITED"),
    "401": (Reply(status=401), "FAILED_PRECONDITION", "PROVIDER_REFUSED"),
    "garbage": (Reply(garbage=True), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    "cut": (Reply("one two three four", cut_after=2), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
    "error in the stream": (Reply("one two three", error_after=2), "UNAVAILABLE", "PROVIDER_UNAVAILABLE"),
}


# Only a stream can break in the middle by words.
FAILURES = [
    (fault, streamed) for fault in FAULTS for streamed in (False, True) if streamed or not FAULTS[fault][0].error_after
]


@pytest.mark.parametrize(("fault", "streamed"), FAILURES)
async def test_a_provider_that_fails_gives_its_status_and_is_in_the_ledger_as_failed(
    mesh: RunningMesh, fake: ProviderServer, fault: str, streamed: bool
) -> None:
    reply, code, reason = FAULTS[fault]
    client = client_of(mesh, "outside", {})
    register(client, fake, "outside")
    fake.reply = reply
    ask = client.stream if streamed else client.ask
    refused = refusal(lambda: ask("What is it?", model="outside", cache=2))
    assert told(refused) == (code, reason), refused
    assert getattr(refused, "retry_after_s", 1.0) is not None
    usage = stub_of(UsageServiceStub, client.channel)

    def failures() -> list[Any]:
        records = usage.ListUsageRecords(usage_pb.ListUsageRecordsRequest()).records
        return [one for one in records if one.usage.outcome == usage_pb2.OUTCOME_FAILED]

    await until(lambda: len(failures()) == 1, within_s=20, every_s=0.2, what="an entry of the failed request")
    # Nothing is held any more.
    used = stub_of(LimitServiceStub, client.channel).GetQuotaUsage(limit_pb.GetQuotaUsageRequest())
    assert used.requests_running == 0


async def test_a_provider_that_hangs_ends_with_the_callers_deadline_and_is_settled(
    mesh: RunningMesh, fake: ProviderServer
) -> None:
    client = client_of(mesh, "hung", {})
    register(client, fake, "outside")
    fake.reply = Reply("one two three", hang_after=1)
    started = time.monotonic()
    query: dict[str, Any] = {"model": "outside", "cache": 2}
    with pytest.raises(grpc.RpcError) as refused:
        list(_with_deadline(client, 2.0, query))
    error: Any = refused.value
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 6
    usage, limits = stub_of(UsageServiceStub, client.channel), stub_of(LimitServiceStub, client.channel)

    def records() -> list[usage_pb.UsageRecord]:
        return list(usage.ListUsageRecords(usage_pb.ListUsageRecordsRequest()).records)

    def nothing_held() -> bool:
        return limits.GetQuotaUsage(limit_pb.GetQuotaUsageRequest()).requests_running == 0

    await until(lambda: bool(records()) and nothing_held(), within_s=20, every_s=0.2, what="an entry, and nothing held")
    assert [record.usage.outcome for record in records()] == [usage_pb2.OUTCOME_DEADLINE]
    # The mesh goes on.
    fake.reply = Reply("All is well.")
    assert client.ask("Again?", **query).text == "All is well."


def _with_deadline(client: Client, seconds: float, query: dict[str, Any]) -> Any:
    from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
    from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub

    request = pb.StreamGenerateContentRequest(query=pb.GenerationQuery(question="?", **query))
    return stub_of(GatewayServiceStub, client.channel).StreamGenerateContent(request, timeout=seconds)


def test_a_provider_that_fails_is_followed_by_the_fallback(mesh: RunningMesh, fake: ProviderServer) -> None:
    client = client_of(mesh, "fallback", SHOP)
    register(client, fake, "outside", fallbacks=("extractive",))
    fake.reply = Reply(status=500)
    answer = client.ask("When does the shop open?", cache=2)
    assert "nine o'clock" in answer.text and answer.summary.usage.model == "extractive"


async def test_a_client_that_goes_stops_the_provider_and_what_was_used_is_settled(
    mesh: RunningMesh, fake: ProviderServer
) -> None:
    client = client_of(mesh, "gone", {})
    register(client, fake, "outside")
    fake.reply = Reply("one two three four five six seven eight nine ten", token_s=0.5)
    stream = client.stream("Count.", model="outside", cache=2)
    for piece in stream:
        if piece.text_delta:
            break
    stream.cancel()
    await until(lambda: fake.disconnects == 1, within_s=10, what="the provider's connection to be broken off")
    usage = stub_of(UsageServiceStub, client.channel)

    def records() -> list[Any]:
        return list(usage.ListUsageRecords(usage_pb.ListUsageRecordsRequest()).records)

    await until(lambda: len(records()) == 1, within_s=20, every_s=0.2, what="an entry of the cancelled request")
    assert records()[0].usage.outcome == usage_pb2.OUTCOME_CANCELLED and records()[0].usage.input_tokens > 0


def test_a_refusal_carries_its_reason_and_retry_hint_as_details(mesh: RunningMesh, fake: ProviderServer) -> None:
    client = client_of(mesh, "details", {})
    register(client, fake, "outside")
    fake.reply = Reply(status=429, retry_after="7")
    with pytest.raises(grpc.RpcError) as refused:
        client.ask("?", model="outside", cache=2)
    from grpc_status import rpc_status

    failure: Any = refused.value
    status = rpc_status.from_call(failure)
    assert status is not None
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    assert any(one.Unpack(info) for one in status.details) and info.domain == "tenantry.dev"
    assert any(one.Unpack(retry) for one in status.details) and retry.retry_delay.seconds > 0
