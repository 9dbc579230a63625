"""The real Weaviate that `make tools` builds, on free ports, with data of its own; or the one at TENANTRY_WEAVIATE_URL."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.harness.left_out import require
from tests.harness.ports import free_port, free_ports_in_a_row

STARTS_WITHIN_S = 25.0
# A port may be taken between the moment it was found free and its use.
ATTEMPTS = 3


class WeaviateServer:
    """A server that a test may stop, kill and start again; its data stays until `remove`."""

    def __init__(self, binary: str) -> None:
        self.port = free_port()
        self.grpc_port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="tenantry-weaviate-"))
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        """Come back when it answers."""
        for _ in range(ATTEMPTS):
            if self._start_once():
                return
            self.kill()
        words = (self.directory / "log").read_text(errors="replace")
        raise RuntimeError(f"Weaviate did not start:\n{words[-2000:]}")

    def _start_once(self) -> bool:
        command = [self._binary, "--host", "127.0.0.1", "--port", str(self.port), "--scheme", "http"]
        # In localhost mode a node looks for its peers, itself included, at the port after theirs for Raft.
        raft_port = free_ports_in_a_row()
        settings = {
            "PERSISTENCE_DATA_PATH": str(self.directory / "data"),
            "GRPC_PORT": str(self.grpc_port),
            "CLUSTER_HOSTNAME": "node1",
            "CLUSTER_IN_LOCALHOST": "true",
            "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
            "CLUSTER_GOSSIP_BIND_PORT": str(free_port()),
            "CLUSTER_DATA_BIND_PORT": str(free_port()),
            "RAFT_PORT": str(raft_port),
            "RAFT_INTERNAL_RPC_PORT": str(raft_port + 1),
            "RAFT_BOOTSTRAP_EXPECT": "1",
            "RAFT_TIMEOUTS_MULTIPLIER": "1",  # it elects itself after one to two seconds, not after five to ten
            "DEFAULT_VECTORIZER_MODULE": "none",
            "DISABLE_TELEMETRY": "true",
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "PROMETHEUS_MONITORING_ENABLED": "false",
            "GOMAXPROCS": "2",
        }
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **settings}, cwd=self.directory
            )
        end = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM."""
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/v1/.well-known/ready", timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class ExternalWeaviate:
    """A server that somebody else runs: it is neither stopped nor emptied, so use tenants of your own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.grpc = os.environ.get("TENANTRY_WEAVIATE_GRPC", "")

    def remove(self) -> None:
        """Nothing of it is ours."""


def start() -> WeaviateServer | ExternalWeaviate:
    """A running Weaviate, or the running test is left out."""
    found = require("weaviate")
    if found.startswith("http"):
        return ExternalWeaviate(found)
    server = WeaviateServer(found)
    try:
        server.start()
    except BaseException:
        server.remove()
        raise
    return server
