"""Envoy as a second door of a mesh that has kit's own edge: the same services, so that both can be compared."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tenantry.kit.access import EDGE
from tests.harness.left_out import require
from tests.harness.mesh import RunningMesh
from tests.harness.ports import free_port

_START_S = 30.0


@dataclass
class Envoy:
    """A running Envoy. `grpc` and `http` are its addresses, `process` the one of `tenantry edge`, which runs it."""

    grpc: str
    http: str
    state: Path
    process: "subprocess.Popen[bytes]"

    def admin(self, path: str) -> str:
        """What its admin interface answers."""
        transport = httpx.HTTPTransport(uds=str(self.state / "envoy" / "admin.sock"))
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=5) as client:
            return client.get(path).text

    def log(self) -> str:
        """All that it has written."""
        return (self.state / "edge.log").read_text(errors="replace")


@contextlib.contextmanager
def envoy_beside(mesh: RunningMesh, state: Path, **environment: str) -> Iterator[Envoy]:
    """Envoy before the mesh's services, while the block runs; `environment` may say that one is elsewhere."""
    require("envoy")
    state.mkdir(parents=True)
    grpc, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
    own = {
        "TENANTRY_STATE": str(state),
        "TENANTRY_TOKENS": str(mesh.state / "tokens"),
        "TENANTRY_EDGE_LISTEN": grpc,
        "TENANTRY_EDGE_HTTP_LISTEN": http,
    }
    with (state / "edge.log").open("wb") as log:
        command = [sys.executable, "-m", "tenantry.cli", "edge"]
        process = subprocess.Popen(
            command,
            env=os.environ | mesh.environment | own | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    envoy = Envoy(grpc, http, state, process)
    try:
        _wait_live(envoy)
        yield envoy
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def edge_token(mesh: RunningMesh) -> str:
    """Envoy's service token."""
    return (mesh.state / "tokens" / f"{EDGE}.token").read_text().strip()


def _wait_live(envoy: Envoy) -> None:
    """Until it takes calls; whether the services are healthy it has asked once by then."""
    end = time.monotonic() + _START_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(envoy.grpc.rpartition(":")[2]))) == 0:
                return
        if envoy.process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"Envoy did not start:\n{envoy.log()[-3000:]}")
        time.sleep(0.05)
