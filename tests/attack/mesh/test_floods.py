"""What strangers may send without end takes no memory."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.harness.mesh import RunningMesh

MESSAGE = b"\x0a" + b"x" * (36 * 1024 * 1024)
AT_ONCE = 10
_MB = 1024 * 1024


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/tenantry.api.gateway.v1.GatewayService/GenerateContent", grpc.StatusCode.UNAUTHENTICATED),
        ("/grpc.health.v1.Health/Check", grpc.StatusCode.OK),
    ],
)
def test_messages_of_36_mb_from_strangers_are_not_taken_into_memory(
    mesh: RunningMesh, path: str, code: grpc.StatusCode
) -> None:
    if not mesh.processes:
        pytest.skip("the memory of a mesh that runs elsewhere is not known")
    gateway = mesh.processes.get("gateway") or mesh.processes["all"]
    before = _most_bytes(gateway.pid)
    with grpc.insecure_channel(mesh.edge, [("grpc.max_send_message_length", -1)]) as channel:
        ask = channel.unary_unary(path)
        calls: list[Any] = [ask.future(MESSAGE, timeout=30, wait_for_ready=True) for _ in range(AT_ONCE)]
        # Envoy has another bound for the question, and says so.
        expected = grpc.StatusCode.INVALID_ARGUMENT if mesh.envoy and code is grpc.StatusCode.OK else code
        assert {call.code() for call in calls} == {expected}
    assert _most_bytes(gateway.pid) - before < 40 * _MB  # a megabyte a stream is on its way


def _most_bytes(pid: int) -> int:
    """The most memory that a process ever had."""
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
