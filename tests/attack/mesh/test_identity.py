"""Whom a call is said to be from: assertions forged, ended, doubled or stolen, and headers that clients invent."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenantry.api.insight.v1 import trace_service_pb2 as trace_pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.kit import call
from tenantry.kit.assertion import ASSERTION_TYPE, sign_assertion, sign_service_token
from tenantry.kit.caller import Caller
from tenantry.kit.clock import SystemClock
from tenantry.tenancy.initialise import opened
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN
from tenantry.tenancy.settings import Settings
from tenantry.tenancy.store import PLATFORM
from tests.attack.mesh.conftest import Metadata, People
from tests.attack.mesh.contracts import outcome_of
from tests.harness import http2
from tests.harness.mesh import stub_of

# Other attacks store documents too.
COLLECTION = "identity"
LIST = "/tenantry.api.retrieval.v1.DocumentService/ListDocuments"
BAD_CREDENTIAL = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
NO_CREDENTIAL = ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
BAD_IDENTITY = ("UNAUTHENTICATED", "SERVICE_IDENTITY_INVALID")


def list_documents(people: People, metadata: Metadata, address: str = "") -> tuple[str, str] | list[str]:
    """What retrieval says to such a call: its documents, or code and reason of the refusal."""
    stub = stub_of(DocumentServiceStub, people.channel(address or people.mesh.addresses["retrieval"]))
    try:
        request = document_pb.ListDocumentsRequest(collection=COLLECTION)
        answer = stub.ListDocuments(request, metadata=tuple(metadata), timeout=10)
    except grpc.RpcError as error:
        return outcome_of(error)
    return [one.document for one in answer.documents]


@pytest.fixture(scope="session")
def documents(people: People) -> None:
    """A document at each of the two tenants."""
    people.mesh.upload(people.own.key, {"mine": "# Mine\n\nThis is mine."}, COLLECTION)
    people.mesh.upload(people.other.key, {"theirs": "# Theirs\n\nThis is theirs."}, COLLECTION)


def of_other(people: People, expires_at: float) -> Caller:
    other = people.other
    return Caller(
        other.tenant, other.organisation, "enterprise", "forger", ROLES[TENANT_ADMIN], "key_x", expires_at=expires_at
    )


def part(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def forgeries() -> dict[str, Callable[[People], str]]:
    stranger = Ed25519PrivateKey.generate()

    def true_of(people: People) -> str:
        return people.assertion(people.own.key)[0][1]

    def by_stranger(people: People) -> str:
        key_id = jwt.get_unverified_header(true_of(people))["kid"]
        return sign_assertion(stranger, key_id, of_other(people, time.time() + 60), time.time())

    def by_unknown_key(people: People) -> str:
        return sign_assertion(stranger, "nobody", of_other(people, time.time() + 60), time.time())

    def unsigned(people: People) -> str:
        header = jwt.get_unverified_header(true_of(people)) | {"alg": "none"}
        claims = jwt.decode(true_of(people), options={"verify_signature": False}) | {"tid": people.other.tenant}
        return f"{part(header)}.{part(claims)}."

    def another_tenant_in_it(people: People) -> str:
        header, _, signature = true_of(people).split(".")
        claims = jwt.decode(true_of(people), options={"verify_signature": False}) | {"tid": people.other.tenant}
        return f"{header}.{part(claims)}.{signature}"

    def shared_secret(people: People) -> str:
        header = jwt.get_unverified_header(true_of(people))
        claims = jwt.decode(true_of(people), options={"verify_signature": False}) | {"tid": people.other.tenant}
        return jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": header["kid"], "typ": ASSERTION_TYPE})

    return {
        "signed by a stranger": by_stranger,
        "signed by a key that nobody knows": by_unknown_key,
        "not signed": unsigned,
        "with another tenant put into it": another_tenant_in_it,
        "signed with a shared secret": shared_secret,
        "a service token": lambda people: people.tokens["gateway"],
        "an api key": lambda people: people.own.key,
        "junk": lambda people: "a.b.c",
    }


@pytest.mark.parametrize("forged", forgeries().items(), ids=lambda one: one[0])
def test_a_forged_assertion(people: People, forged: tuple[str, Callable[[People], str]]) -> None:
    token = forged[1](people)
    alone = [(call.ASSERTION, token)]
    assert list_documents(people, alone) == BAD_CREDENTIAL
    assert list_documents(people, [*alone, (call.SERVICE, people.tokens["gateway"])]) == BAD_CREDENTIAL


def test_a_forged_service_token(people: People) -> None:
    token = sign_service_token(Ed25519PrivateKey.generate(), "nobody", "gateway", time.time(), time.time() + 60)
    assertion = people.assertion(people.own.key)
    for forged in (token, assertion[0][1], "junk"):
        assert list_documents(people, [*assertion, (call.SERVICE, forged)]) == BAD_IDENTITY


@pytest.fixture(scope="session")
def sign(people: People) -> Callable[[Caller], str]:
    """Signs as tenancy does, at any time: what only somebody who holds its secret file could."""
    if not people.mesh.addresses:
        pytest.skip("tenancy's secret file is inside the mesh")
    state = people.mesh.state
    settings = Settings(
        sql_url=f"sqlite+aiosqlite:///{state}/sql/tenancy.db",
        secret=state / "secrets" / "tenancy.key",
        tokens=state / "tokens",
        operator_key=state / "secrets" / "operator.key",
    )

    async def key() -> tuple[str, Ed25519PrivateKey]:
        async with opened(settings, SystemClock()) as (_, store, secret), store.read() as tx:
            known = (await tx.signing_keys.list(PLATFORM, 0))[0]
            return known.id, Ed25519PrivateKey.from_private_bytes(secret.unseal(known.sealed, known.id))

    key_id, private = asyncio.run(key())
    return lambda caller: sign_assertion(private, key_id, caller, caller.expires_at - 120)


def test_an_expired_assertion(people: People, documents: None, sign: Callable[[Caller], str]) -> None:
    now = time.time()
    gateway = (call.SERVICE, people.tokens["gateway"])
    fresh = [(call.ASSERTION, sign(of_other(people, now + 60)))]
    assert list_documents(people, fresh) == ["theirs"]
    ended = [(call.ASSERTION, sign(of_other(people, now - 5)))]
    assert list_documents(people, ended) == BAD_CREDENTIAL
    # A request that entered in time may go on for as long as the longest one.
    assert list_documents(people, [*ended, gateway]) == ["theirs"]
    long_ended = [(call.ASSERTION, sign(of_other(people, now - 605)))]
    assert list_documents(people, [*long_ended, gateway]) == BAD_CREDENTIAL


def test_an_absent_assertion(people: People) -> None:
    assert list_documents(people, []) == NO_CREDENTIAL
    assert list_documents(people, [(call.SERVICE, people.tokens["gateway"])]) == NO_CREDENTIAL
    assert list_documents(people, [(call.TENANT, people.own.tenant)]) == BAD_CREDENTIAL


def test_a_doubled_assertion(people: People, documents: None) -> None:
    own, other = people.assertion(people.own.key)[0], people.assertion(people.other.key)[0]
    for pair in ([own, other], [other, own], [own, own]):
        assert list_documents(people, pair) == BAD_CREDENTIAL


def test_a_tenant_header_that_differs(people: People, documents: None) -> None:
    own = people.assertion(people.own.key)
    assert list_documents(people, own) == ["mine"]
    assertion = own[0]
    for named in (people.other.tenant, people.own.tenant.upper(), "", f"{people.own.tenant},{people.other.tenant}"):
        assert list_documents(people, [assertion, (call.TENANT, named)]) == BAD_CREDENTIAL
    doubled = [(call.TENANT, people.own.tenant), (call.TENANT, people.other.tenant)]
    assert list_documents(people, [assertion, *doubled]) == BAD_CREDENTIAL


def test_tenant_headers_that_a_client_invents(people: People, documents: None) -> None:
    edge = people.mesh.edge
    key = ("authorization", f"Bearer {people.own.key}")
    stolen = people.assertion(people.other.key)
    invented: list[Metadata] = [
        [(call.TENANT, people.other.tenant)],
        stolen,
        [(call.SERVICE, people.tokens["gateway"]), *stolen],
        [(call.REQUEST_ID, "req_other")],
        [("x-tenantry-tier", "enterprise"), ("x-tenantry-target", "tenancy"), ("baggage", "tenant=other")],
    ]
    for headers in invented:
        assert list_documents(people, [key, *headers], edge) == ["mine"]
        assert list_documents(people, [*headers, key], edge) == ["mine"]


def test_tenant_headers_and_credentials_that_are_doubled_at_the_edge(people: People, documents: None) -> None:
    edge = people.mesh.edge
    own, other = (("authorization", f"Bearer {one.key}") for one in (people.own, people.other))
    doubled = [(call.TENANT, people.own.tenant), (call.TENANT, people.other.tenant)]
    # Dropped or refused, but never picked from.
    assert list_documents(people, [own, *doubled], edge) in (["mine"], BAD_CREDENTIAL)
    assert list_documents(people, [own, other], edge) == BAD_CREDENTIAL
    assert list_documents(people, [other, own], edge) == BAD_CREDENTIAL


def test_a_tenant_header_in_mixed_case_is_not_even_sent(people: People) -> None:
    # HTTP/2 has no upper case in names (RFC 9113, 8.2.1): gRPC's client ends the call itself, without a word of a service's.
    header = [("X-Tenant-Id", people.other.tenant)]
    assert list_documents(people, header, people.mesh.edge) == ("INTERNAL", "")


@pytest.mark.parametrize("name", ["X-Tenant-Id", "X-TENANTRY-ASSERTION", "Authorization"])
def test_a_header_in_mixed_case_that_is_sent_all_the_same(people: People, documents: None, name: str) -> None:
    key = ("authorization", f"Bearer {people.own.key}")
    value = f"Bearer {people.other.key}" if name == "Authorization" else people.other.tenant
    with http2.connect(people.mesh.edge) as connection:
        request = document_pb.ListDocumentsRequest(collection=COLLECTION).SerializeToString()
        message = b"\0" + len(request).to_bytes(4, "big") + request
        connection.sendall(
            http2.PREFACE
            + http2.SETTINGS
            + http2.headers(1, LIST, [key, (name, value)])
            + http2.frame(http2.DATA, 1, message, flags=1)
        )
        heard, reset = b"", b"\0\0\x04\x03"
        with contextlib.suppress(ConnectionError):
            while b"mine" not in heard and reset not in heard and (part := connection.recv(65_536)):
                heard += part
    # The stream is reset or the connection ended, or the name is one that nobody reads.
    assert b"theirs" not in heard


@pytest.mark.parametrize("name", ["x_tenant_id", "x_tenantry_assertion", "x-tenantry_service", "x-tenant_id"])
def test_a_tenant_header_with_an_underscore(people: People, documents: None, name: str) -> None:
    forged = (name, people.assertion(people.other.key)[0][1] if "assertion" in name else people.other.tenant)
    found = list_documents(people, [("authorization", f"Bearer {people.own.key}"), forged], people.mesh.edge)
    # Nobody takes it for the name with dashes; Envoy does not even let it in.
    assert found == ["mine"] or (people.mesh.envoy and isinstance(found, tuple))
    assert list_documents(people, [forged], people.mesh.edge) != ["theirs"]
    assert list_documents(people, [*people.assertion(people.own.key), forged]) == ["mine"]
    assert list_documents(people, [forged]) == NO_CREDENTIAL


def test_a_trace_of_another_tenant_joined_by_its_traceparent(people: People, documents: None) -> None:
    edge = people.channel(people.mesh.edge)
    theirs = stub_of(DocumentServiceStub, edge).ListDocuments.with_call(
        document_pb.ListDocumentsRequest(), metadata=(("authorization", f"Bearer {people.other.key}"),)
    )[1]
    request_id = dict(theirs.trailing_metadata())[call.REQUEST_ID]
    stub = stub_of(TraceServiceStub, edge)
    as_other, as_own = ((("authorization", f"Bearer {one.key}"),) for one in (people.other, people.own))
    found = _trace_of(stub, request_id, as_other)
    forged_ns = time.time_ns()
    forged = ("traceparent", f"00-{found.trace.trace_id}-{found.spans[0].span_id}-01")
    assert list_documents(people, [*as_own, forged], people.mesh.edge) == ["mine"]
    inside = [*people.assertion(people.own.key), forged]
    assert list_documents(people, inside) == ["mine"]
    # Whatever was sent is stored once a later trace is.
    later = stub_of(DocumentServiceStub, edge).ListDocuments.with_call(
        document_pb.ListDocumentsRequest(), metadata=as_own
    )[1]
    _trace_of(stub, dict(later.trailing_metadata())[call.REQUEST_ID], as_own)
    again = stub.GetTrace(trace_pb.GetTraceRequest(trace_id=found.trace.trace_id), metadata=as_other)
    # A span of its own may have come late; one that began after the forgery is not its own.
    assert {one.span_id for one in again.spans} >= {one.span_id for one in found.spans}
    assert all(one.start_time.ToNanoseconds() < forged_ns for one in again.spans)
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetTrace(trace_pb.GetTraceRequest(trace_id=found.trace.trace_id), metadata=as_own)
    assert outcome_of(refused.value) == ("NOT_FOUND", "NOT_FOUND")


def _trace_of(stub: Any, request_id: str, metadata: Any) -> Any:
    """A request's trace, once it has its root and grows no more for a second."""
    end, spans, found = time.monotonic() + 20, -1, None
    while time.monotonic() < end:
        try:
            found = stub.GetTrace(trace_pb.GetTraceRequest(trace_id=request_id), metadata=metadata)
        except grpc.RpcError:
            found = None
        if found is not None and len(found.spans) == spans and any(not one.parent_span_id for one in found.spans):
            return found
        spans = len(found.spans) if found is not None else -1
        time.sleep(1.0)
    raise AssertionError(f"no trace of {request_id} came within 20 s")
