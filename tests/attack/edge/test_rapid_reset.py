"""Rapid reset (CVE-2023-44487) on a real Envoy: each stream ends before it can be answered, and its work stays behind."""

import contextlib
import socket
from pathlib import Path
from typing import Any

import grpc

from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tests.harness import http2
from tests.harness.envoy import envoy_beside
from tests.harness.mesh import running_mesh, stub_of
from tests.harness.poll import until

GENERATE = "/tenantry.api.gateway.v1.GatewayService/GenerateContent"
_MB = 1024 * 1024


async def test_streams_that_are_opened_and_reset_at_once_leave_nothing(tmp_path: Path) -> None:
    with (
        running_mesh("cohosted", tmp_path / "mesh", envoy=False) as mesh,
        envoy_beside(mesh, tmp_path / "envoy") as envoy,
    ):
        (service,) = mesh.processes.values()
        other = mesh.tenant()
        before = _most_bytes(service.pid)
        for _ in range(10):
            # Whoever is found out is cut off, and comes again.
            with contextlib.suppress(OSError), http2.connect(envoy.grpc) as connection:
                connection.sendall(http2.PREFACE + http2.SETTINGS)
                for first in range(1, 4_000, 100):
                    connection.sendall(b"".join(map(_opened_and_reset, range(first, first + 100, 2))))
                    _read_away(connection)
        assert _most_bytes(service.pid) - before < 128 * _MB
        with grpc.insecure_channel(envoy.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            await until(lambda: _served(channel, other.key), within_s=5, every_s=0.1, what="somebody else's answer")


def _served(channel: grpc.Channel, key: str) -> bool:
    """Whether somebody else is served: at once, or when he comes again. gRPC cuts Envoy's own connection when too many of its
    questions to tenancy are taken back (docs/adr/grpcio-held.md), and tells him UNAVAILABLE, and nothing else."""
    stub = stub_of(DocumentServiceStub, channel)
    try:
        stub.ListDocuments(
            document_pb.ListDocumentsRequest(), metadata=(("authorization", f"Bearer {key}"),), timeout=20
        )
    except grpc.RpcError as error:
        refused: Any = error
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        return False
    return True


def _most_bytes(process: int) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _opened_and_reset(stream: int) -> bytes:
    return http2.headers(stream, GENERATE) + http2.frame(http2.RESET, stream, b"\0\0\0\x08")


def _read_away(connection: socket.socket) -> None:
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        connection.recv(65_536)
    connection.settimeout(10)
