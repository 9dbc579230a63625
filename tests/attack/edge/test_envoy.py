"""Attacks on a real Envoy: what strangers say of themselves, and paths that would lead where clients have no business."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest

from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.kit import call
from tests.attack.mesh.contracts import outcome_of
from tests.harness.envoy import Envoy, edge_token, envoy_beside
from tests.harness.mesh import RunningMesh, TenantKeys, running_mesh, stub_of

LIST = "/tenantry.api.retrieval.v1.DocumentService/ListDocuments"
SIGNING_KEYS = "/tenantry.api.tenancy.v1.IdentityService/ListSigningKeys"
Metadata = list[tuple[str, str]]


@dataclass
class Front:
    """Envoy, and two tenants with a document each."""

    mesh: RunningMesh
    envoy: Envoy
    channel: Any
    own: TenantKeys
    other: TenantKeys


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    state = tmp_path_factory.mktemp("front")
    with running_mesh("cohosted", state / "mesh", envoy=False) as mesh, envoy_beside(mesh, state / "envoy") as envoy:
        own, other = mesh.tenant(), mesh.tenant()
        mesh.upload(own.key, {"mine": "# Mine\n\nThis is mine."})
        mesh.upload(other.key, {"theirs": "# Theirs\n\nThis is theirs."})
        with grpc.insecure_channel(envoy.grpc) as channel:
            yield Front(mesh, envoy, channel, own, other)


def documents(channel: Any, metadata: Metadata) -> list[str] | tuple[str, str]:
    """The documents that the caller sees, or how it is refused."""
    stub = stub_of(DocumentServiceStub, channel)
    try:
        answer = stub.ListDocuments(document_pb.ListDocumentsRequest(), metadata=tuple(metadata), timeout=20)
    except grpc.RpcError as error:
        return outcome_of(error)
    return [one.document for one in answer.documents]


def bearer(who: TenantKeys) -> Metadata:
    return [("authorization", f"Bearer {who.key}")]


def assertion_of(front: Front, who: TenantKeys) -> str:
    """A true assertion of somebody's, as if it had been stolen."""
    from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
    from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub

    token = (front.mesh.state / "tokens" / "gateway.token").read_text().strip()
    with grpc.insecure_channel(front.mesh.addresses["tenancy"]) as channel:
        stub = stub_of(IdentityServiceStub, channel)
        request = identity_pb.AuthenticateCallerRequest(credential=who.key)
        return stub.AuthenticateCaller(request, metadata=((call.SERVICE, token),)).assertion


def test_tenant_headers_that_a_client_invents_are_dropped(front: Front) -> None:
    stolen = assertion_of(front, front.other)
    invented: list[Metadata] = [
        [(call.TENANT, front.other.tenant)],
        [(call.TENANT, front.own.tenant), (call.TENANT, front.other.tenant)],
        [(call.ASSERTION, stolen), (call.TENANT, front.other.tenant)],
        [(call.SERVICE, edge_token(front.mesh))],
        [(call.FORWARDED, "1"), (call.TARGET, "tenancy"), (call.REQUEST_ID, "req_other")],
        [("x-tenantry-anything", "1"), ("baggage", "tenant=other"), ("tracestate", "a=b"), ("x-envoy-retry-on", "5xx")],
    ]
    for headers in invented:
        assert documents(front.channel, [*bearer(front.own), *headers]) == ["mine"]
        assert documents(front.channel, [*headers, *bearer(front.own)]) == ["mine"]
    assert documents(front.channel, [(call.ASSERTION, stolen)]) == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")


def test_two_credentials_are_refused_in_either_order(front: Front) -> None:
    for pair in ((front.own, front.other), (front.other, front.own), (front.own, front.own)):
        sent = [*bearer(pair[0]), *bearer(pair[1])]
        assert documents(front.channel, sent) == ("UNAUTHENTICATED", "CREDENTIAL_INVALID")


@pytest.mark.parametrize("name", ["x_tenant_id", "x_tenantry_assertion", "x-tenantry_service", "any_thing"])
def test_a_header_with_an_underscore_is_refused_whole(front: Front, name: str) -> None:
    found = documents(front.channel, [*bearer(front.own), (name, front.other.tenant)])
    assert isinstance(found, tuple) and found[0] != "OK"


def test_tenant_headers_in_mixed_case_are_dropped_too(front: Front) -> None:
    # By HTTP/1.1, since HTTP/2 has no upper case in names.
    headers = {
        "Authorization": f"Bearer {front.own.key}",
        "Content-Type": "application/json",
        "X-Tenant-ID": front.other.tenant,
        "X-TENANTRY-ASSERTION": assertion_of(front, front.other),
    }
    answer = httpx.post(f"http://{front.envoy.http}{LIST}", json={}, headers=headers)
    assert [one["document"] for one in answer.json()["documents"]] == ["mine"]


@pytest.mark.parametrize(
    "path",
    [
        SIGNING_KEYS,
        f"/{SIGNING_KEYS}",
        f"{SIGNING_KEYS}/",
        f"{SIGNING_KEYS}?",
        f"{LIST}/..%2f..{SIGNING_KEYS}",
        f"{LIST}/../..{SIGNING_KEYS}",
        f"{LIST};{SIGNING_KEYS}",
        SIGNING_KEYS.replace("/L", "%2fL"),
        SIGNING_KEYS.replace("/L", "\\L"),
        SIGNING_KEYS.replace("Identity", "identity"),
        "/envoy.service.auth.v3.Authorization/Check",
        "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/tenantry.api.lifecycle.v1.LifecycleService/DeprovisionTenant",
        "/tenantry.api.quota.v1.CallService/AdmitCall",
    ],
)
def test_an_rpc_of_the_mesh_is_nowhere_by_any_path(front: Front, path: str) -> None:
    operator = [("authorization", f"Bearer {front.mesh.operator_key}"), (call.SERVICE, edge_token(front.mesh))]
    with pytest.raises(grpc.RpcError) as refused:
        front.channel.unary_unary(path)(b"", metadata=operator, timeout=20)
    error: Any = refused.value
    assert outcome_of(error) in (("UNIMPLEMENTED", ""), ("INTERNAL", ""), ("INVALID_ARGUMENT", "")), error
    by_json = httpx.post(f"http://{front.envoy.http}{path}", json={}, headers=dict(operator[:1]))
    assert by_json.status_code in (400, 403, 404), by_json.text


def test_a_service_called_directly_without_envoy_believes_no_header(front: Front) -> None:
    with grpc.insecure_channel(front.mesh.addresses["retrieval"]) as inside:
        assert documents(inside, bearer(front.own)) == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
        assert documents(inside, [(call.TENANT, front.own.tenant)]) == ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
        # Envoy's own token says nothing about a tenant.
        alone = [(call.SERVICE, edge_token(front.mesh)), (call.TENANT, front.own.tenant)]
        assert documents(inside, alone) == ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
        stolen = [(call.SERVICE, edge_token(front.mesh)), (call.ASSERTION, assertion_of(front, front.own))]
        assert documents(inside, stolen) == ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")


def test_a_key_or_a_header_s_value_with_a_line_break_reaches_nobody(front: Front) -> None:
    for value in (f"Bearer {front.own.key}\r\nx-tenant-id: {front.other.tenant}", f"Bearer {front.own.key}\0"):
        with pytest.raises((ValueError, httpx.HTTPError)):
            httpx.post(f"http://{front.envoy.http}{LIST}", json={}, headers={"Authorization": value})
        raw = f"POST {LIST} HTTP/1.1\r\nhost: x\r\nauthorization: {value}\r\ncontent-length: 2\r\n\r\n{{}}"
        assert "200 OK" not in _raw(front.envoy.http, raw) or "theirs" not in _raw(front.envoy.http, raw)


def _raw(address: str, request: str) -> str:
    import socket

    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        return connection.recv(65_536).decode(errors="replace")


def test_a_forged_trace_is_linked_and_never_joined(front: Front) -> None:
    trace = secrets.token_hex(16)
    forged = [("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"), (call.CLIENT_TRACEPARENT, "junk")]
    assert documents(front.channel, [*bearer(front.own), *forged]) == ["mine"]
    with pytest.raises(grpc.RpcError):
        front.channel.unary_unary("/tenantry.api.insight.v1.TraceService/GetTrace")(
            b"\x0a\x20" + trace.encode(), metadata=tuple(bearer(front.own)), timeout=20
        )
