"""What takes a server's memory, connections, streams or time from others: large and packed messages, slow clients, floods."""

import contextlib
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tests.attack.mesh.conftest import People
from tests.harness import http2
from tests.harness.mesh import RunningMesh, stub_of

GENERATE = "/tenantry.api.gateway.v1.GatewayService/GenerateContent"
_MB = 1024 * 1024
# What others wait at most while it goes on. The machine may be busy with other tests.
_OTHERS_S = 20.0


def most_bytes(mesh: RunningMesh) -> int:
    """The most memory that any process behind the edge ever had, all together."""
    if not mesh.processes:
        pytest.skip("the memory of a mesh that runs elsewhere is not known")
    status = [Path(f"/proc/{one.pid}/status").read_text() for one in mesh.processes.values()]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) * 1024 for text in status)


def served(people: People) -> None:
    """Somebody else is still served, on a connection of its own."""
    began = time.monotonic()
    with grpc.insecure_channel(people.mesh.edge, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub_of(DocumentServiceStub, channel).ListDocuments(
            document_pb.ListDocumentsRequest(), metadata=bearer(people.other.key), timeout=_OTHERS_S
        )
    assert time.monotonic() - began < _OTHERS_S


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


@pytest.mark.parametrize("packing", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_a_compressed_bomb_is_not_unpacked(people: People, packing: grpc.Compression) -> None:
    before = most_bytes(people.mesh)
    with grpc.insecure_channel(people.mesh.edge, [("grpc.max_send_message_length", -1)]) as channel:
        # A hundred KB on their way.
        bomb = b"\x0a" + bytes(128 * _MB)
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(GENERATE)(bomb, metadata=bearer(people.own.key), compression=packing, timeout=60)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED  # as gRPC wants it for a packing that the server does not know
    assert most_bytes(people.mesh) - before < 64 * _MB
    served(people)


def test_messages_of_50_mb_are_refused(people: People) -> None:
    before = most_bytes(people.mesh)
    with grpc.insecure_channel(people.mesh.edge, [("grpc.max_send_message_length", -1)]) as channel:
        ask = channel.unary_unary(GENERATE)
        calls: list[Any] = [
            ask.future(b"\x0a" + bytes(50 * _MB), metadata=bearer(people.own.key), timeout=60) for _ in range(4)
        ]
        assert {one.code() for one in calls} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert most_bytes(people.mesh) - before < 32 * _MB  # by what they say of their size: not one of them was taken
    served(people)


def test_slow_clients_hold_up_nobody(people: People) -> None:
    call = http2.headers(1, GENERATE, bearer(people.own.key))
    message = http2.frame(http2.DATA, 1, b"\0\0\0\x10\0" + b"\x0a")
    stages = (
        b"",
        http2.PREFACE[:7],
        http2.PREFACE,
        http2.PREFACE + http2.SETTINGS + call[:20],
        http2.PREFACE + http2.SETTINGS + call,
        http2.PREFACE + http2.SETTINGS + call + message,
    )
    with ExitStack() as slow:
        for number in range(120):
            connection = slow.enter_context(http2.connect(people.mesh.edge))
            connection.sendall(stages[number % len(stages)])
        served(people)


def test_a_thousand_streams_of_a_stranger_that_say_nothing_hold_up_nobody(people: People) -> None:
    before = most_bytes(people.mesh)
    with http2.connect(people.mesh.edge) as connection:
        connection.sendall(http2.PREFACE + http2.SETTINGS)
        for stream in range(1, 2_001, 2):
            connection.sendall(http2.headers(stream, "/grpc.health.v1.Health/Watch"))
            _read_away(connection)
        served(people)
    assert most_bytes(people.mesh) - before < 64 * _MB


def _read_away(connection: socket.socket) -> None:
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        connection.recv(65_536)
    connection.settimeout(10)
