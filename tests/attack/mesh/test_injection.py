"""Data that looks like Lua, RESP, SQL, a log line or a format, in every text of every RPC that clients may call."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tests.attack.mesh.contracts import Rpc, outcome_of, rpcs
from tests.harness.mesh import RunningMesh, TenantKeys, stub_of

MARK = "injected"
LOOKALIKES = {
    "sql": f"x'); DROP TABLE tenants; INSERT INTO keys VALUES ('{MARK}",
    "sql, in quotes": f'" OR 1=1 UNION SELECT secret, 1 FROM keys -- {MARK}',
    "lua": f"']] redis.call('FLUSHALL') return [['{MARK}",
    "resp": f"{MARK}\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "a log line": f'x\n{{"level": "ERROR", "tenant": "{MARK}", "message": "{MARK}"}}\n',
    "a format": f"{MARK} %s %n %(asctime)s {{0.__class__}} ${{jndi:ldap://127.0.0.1/a}} \x1b[2J",
}
# What an attack may end as: it is taken for a text, or refused as one.
_REFUSED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION"}
_DEPTH = 3


def texts(kind: Descriptor, depth: int = _DEPTH, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each text in a message."""
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield (*before, field.name)
        elif field.message_type is not None and not field.is_repeated and depth:
            yield from texts(field.message_type, depth - 1, (*before, field.name))


def put(message: Any, place: tuple[str, ...], text: str) -> None:
    for step in place[:-1]:
        message = getattr(message, step)
    field = message.DESCRIPTOR.fields_by_name[place[-1]]
    if field.is_repeated:
        getattr(message, place[-1]).append(text)
    else:
        setattr(message, place[-1], text)


def requests() -> Iterator[tuple[Rpc, tuple[str, ...]]]:
    for rpc in rpcs():
        if rpc.access.audience in ("public", "admin"):
            for place in texts(rpc.method.input_type):
                yield rpc, place


@pytest.fixture(scope="session")
def tenant(mesh: RunningMesh) -> TenantKeys:
    made = mesh.tenant()
    mesh.upload(made.key, {"kept": "# Kept\n\nThis is still here."})
    return made


@pytest.mark.parametrize("lookalike", LOOKALIKES)
def test_data_that_looks_like_a_command_in_every_text_of_every_rpc(
    mesh: RunningMesh, tenant: TenantKeys, lookalike: str
) -> None:
    wrong: list[str] = []
    with grpc.insecure_channel(mesh.edge) as channel:
        for rpc, place in requests():
            message = GetMessageClass(rpc.method.input_type)()
            put(message, place, LOOKALIKES[lookalike])
            code, reason = _heard(channel, rpc, message.SerializeToString(), tenant.key)
            if code not in _REFUSED:
                wrong.append(f"{rpc} {place}: {code} {reason}")
        assert not wrong
        # Nothing of it was carried out.
        listed = stub_of(DocumentServiceStub, channel).ListDocuments(
            document_pb.ListDocumentsRequest(), metadata=_bearer(tenant.key)
        )
    assert "kept" in {one.document for one in listed.documents}
    assert mesh.tenant().key
    for line in mesh.logs().splitlines():
        assert MARK not in line, line


def _heard(channel: grpc.Channel, rpc: Rpc, body: bytes, key: str) -> tuple[str, str]:
    method = rpc.method
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    try:
        answer = getattr(channel, shape)(rpc.path)(
            iter([body]) if method.client_streaming else body, metadata=_bearer(key), timeout=20
        )
        if method.name.startswith("Watch"):  # it goes on without end
            next(answer, None)
            answer.cancel()
        elif method.server_streaming:
            list(answer)
    except grpc.RpcError as error:
        return outcome_of(error)
    return "OK", ""


def _bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)
