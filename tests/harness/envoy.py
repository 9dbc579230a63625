"""Envoy as a second door of a mesh that has kit's own edge: the same services, so that both can be compared.

`python -m tests.harness.envoy BOUNDS` is `tenantry edge` with bounds that a test can reach: a JSON object.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from tenantry.cli.envoy.settings import Bounds
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
def envoy_beside(
    mesh: RunningMesh, state: Path, bounds: Bounds | None = None, /, **environment: str
) -> Iterator[Envoy]:
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
        edge = ["tenantry.cli", "edge"] if bounds is None else [__name__, json.dumps(asdict(bounds))]
        process = subprocess.Popen(
            [sys.executable, "-m", *edge],
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


def _run(bounds: Bounds) -> int:
    from tenantry.cli.edge import envoy_settings
    from tenantry.cli.envoy.process import run
    from tenantry.kit.settings import mesh_settings

    own = mesh_settings("gateway")
    return asyncio.run(run(replace(envoy_settings(own), bounds=bounds), own))


if __name__ == "__main__":
    sys.exit(_run(Bounds(**json.loads(sys.argv[1]))))
