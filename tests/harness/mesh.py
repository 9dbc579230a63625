"""A whole mesh for tests: every service as real processes on free ports, its own valkeys, and keys to call it with.

`cohosted` is one process with all eight services, `processes` is eight; both run what an operator runs. Logs of each process
are in `state/logs`. Tests are clients at the edge, like everybody else.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit.access import EDGE
from tenantry.kit.certificate import read
from tenantry.kit.peer import PROBE
from tenantry.kit.settings import SERVICES
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN
from tests.harness import stores, tls
from tests.harness.forked import Forked
from tests.harness.initialised import initialised
from tests.harness.ports import free_port

Topology = Literal["cohosted", "processes"]
# What `--edge` says: whether meshes have Envoy in front where a test does not choose.
BEHIND_ENVOY = False
# Whether processes are forked from one that has imported everything, as in tests; benchmarks start them as an operator does.
FORKED = False
_START_S = 60.0
_STOP_S = 20.0


@dataclass
class TenantKeys:
    """A tenant made for a test: its id, its organisation and an admin's key."""

    tenant: str
    organisation: str
    key: str


@dataclass
class RunningMesh:
    """A mesh that answers. `edge` is the address for clients, `addresses` are the services' own."""

    topology: Topology
    state: Path
    edge: str
    operator_key: str
    addresses: dict[str, str]
    environment: dict[str, str]
    books: stores.RedisServer | None = None
    cache: stores.RedisServer | None = None
    processes: dict[str, "subprocess.Popen[bytes] | Forked"] = field(default_factory=dict)
    envoy: bool = False

    def channel(self, key: str | None = None) -> Any:
        """A client's blocking channel to the edge, with its key. The stubs are typed for asyncio alone: hence Any."""
        plain = grpc.insecure_channel(self.edge)
        return plain if key is None else grpc.intercept_channel(plain, _bearer(key))

    def stub(self, stub: Any, key: str | None = None) -> Any:
        """A blocking stub of a client at the edge, with its key."""
        return stub(self.channel(key))

    def tenant(self, name: str = "", *, tier: str = "enterprise", scopes: Sequence[str] = ()) -> TenantKeys:
        """A new ACTIVE tenant in an organisation of its own, with a key that has `scopes` (an admin's, unless given)."""
        name = name or f"t-{secrets.token_hex(4)}"
        tenants = self.stub(TenantServiceStub, self.operator_key)
        organisation = f"{name}-org"
        tenants.CreateOrganisation(tenant_pb.CreateOrganisationRequest(organisation=organisation))
        request = tenant_pb.CreateTenantRequest(
            tenant=name, organisation=organisation, tier=tenant_pb2.Tier.Value(f"TIER_{tier.upper()}")
        )
        operation = tenants.CreateTenant(request).operation
        for update in tenants.WatchOperation(tenant_pb.WatchOperationRequest(operation=operation.operation)):
            operation = update.operation
        assert operation.state == tenant_pb2.OPERATION_STATE_DONE, operation
        return TenantKeys(name, organisation, self.key(name, scopes or sorted(ROLES[TENANT_ADMIN])))

    def key(self, tenant: str, scopes: Sequence[str], **restrictions: Any) -> str:
        """A key of a tenant."""
        keys = self.stub(KeyServiceStub, self.operator_key)
        return keys.CreateApiKey(key_pb.CreateApiKeyRequest(tenant=tenant, scopes=scopes, **restrictions)).secret

    def upload(self, key: str, documents: Mapping[str, str], collection: str = "") -> None:
        """Stores documents by id."""
        requests = [
            document_pb.UpsertDocumentsRequest(document=name, text=text.encode(), collection=collection)
            for name, text in documents.items()
        ]
        answers = list(self.stub(DocumentServiceStub, key).UpsertDocuments(iter(requests)))
        refused = [one for one in answers if one.outcome == document_pb.UPSERT_OUTCOME_REFUSED]
        assert len(answers) == len(requests) and not refused, refused

    def logs(self) -> str:
        """All that the processes have written."""
        return "".join(path.read_text(errors="replace") for path in sorted((self.state / "logs").glob("*.log")))

    def kill(self, service: str) -> None:
        """SIGKILL to the process of a service."""
        process = self.processes[service if service in self.processes else "all"]
        process.kill()
        process.wait()

    def start(self, service: str) -> None:
        """Starts the process of a service (again), and waits until the mesh is ready."""
        name = service if self.topology == "processes" else "all"
        command = ["tenantry.cli", "serve", *SERVICES] if name == "all" else [f"tenantry.{name}"]
        own: dict[str, str] = {"TENANTRY_LISTEN": self.addresses[SERVICES[0] if name == "all" else name]}
        if self.envoy:
            own["TENANTRY_EDGE_LISTEN"] = ""
        self._start(name, command, own)

    def start_envoy(self, **environment: str) -> None:
        """Starts Envoy in front."""
        self._start(EDGE, ["tenantry.cli", "edge"], environment)

    def _start(self, name: str, command: Sequence[str], own: Mapping[str, str]) -> None:
        path, environment = self.state / "logs" / f"{name}.log", {**self.environment, **own}
        if FORKED:
            self.processes[name] = Forked(command, environment, path, path)
            return
        with path.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def wait_ready(self, *, edge: bool = True) -> None:
        """Waits until every process says that it serves; without `edge`, every service's."""
        deadline = time.monotonic() + _START_S
        for address in {*self.addresses.values(), *([self.edge] if edge else [])}:
            self._wait_healthy(address, deadline)

    def _wait_healthy(self, address: str, deadline: float) -> None:
        with self._probe(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while True:
                with contextlib.suppress(grpc.RpcError):
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                dead = [name for name, process in self.processes.items() if process.poll() is not None]
                if dead or time.monotonic() > deadline:
                    raise AssertionError(f"{dead or address} did not start:\n{self.logs()[-4000:]}")

    def _probe(self, address: str) -> grpc.Channel:
        folder = self.environment.get("TENANTRY_TLS")
        host = next((name for name, where in self.addresses.items() if where == address), None)
        if folder is None or host is None:
            return grpc.insecure_channel(address)
        return tls.channel(address, host, read(Path(folder), PROBE))

    def stop(self) -> None:
        """SIGTERM to all, to the edge and the gateway first, as `tenantry up` does; and SIGKILL to who does not end."""
        first = [[self.processes[name]] for name in (EDGE, "gateway") if name in self.processes]
        others = [process for name, process in self.processes.items() if name not in (EDGE, "gateway")]
        for group in (*first, others):
            for process in group:
                process.send_signal(signal.SIGTERM)
            for process in group:
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def stub_of(kind: Any, channel: grpc.Channel) -> Any:
    """A generated stub on a channel that blocks: the stubs' types are those of `grpc.aio` alone."""
    return kind(channel)


@contextlib.contextmanager
def running_mesh(
    topology: Topology, state: Path, *, envoy: bool | None = None, **environment: str
) -> Iterator[RunningMesh]:
    """A mesh with its own state, while the block runs; with `envoy` that is its address for clients."""
    envoy = BEHIND_ENVOY if envoy is None else envoy
    (state / "logs").mkdir(parents=True)
    books, cache = stores.RedisServer(stores.BOOKS), stores.RedisServer(stores.CACHE)
    mesh: RunningMesh | None = None
    try:
        books.start()
        cache.start()
        mesh = _prepared(topology, state, books, cache, environment)
        mesh.envoy = envoy
        for service in SERVICES if topology == "processes" else ("all",):
            mesh.start(service)
        if envoy:
            mesh.wait_ready(edge=False)  # as `tenantry up` does: what Envoy finds away it asks for again a second later
            mesh.start_envoy()
        mesh.wait_ready()
        yield mesh
    finally:
        if mesh is not None:
            mesh.stop()
        books.remove()
        cache.remove()


def attached_mesh(edge: str, operator_key: str, state: Path) -> RunningMesh:
    """A mesh that somebody else runs."""
    return RunningMesh("processes", state, edge, operator_key, _Unknown(), {})


class _Unknown(dict[str, str]):
    """The services' own addresses in a mesh that somebody else runs: a test that needs one can't be run on it."""

    def __missing__(self, service: str) -> str:
        pytest.skip(f"{service}'s own address is not known: this needs to reach inside the mesh")


def _prepared(
    topology: Topology, state: Path, books: stores.RedisServer, cache: stores.RedisServer, more: Mapping[str, str]
) -> RunningMesh:
    # One process has one address for the mesh.
    one = f"127.0.0.1:{free_port()}"
    addresses = {name: one if topology == "cohosted" else f"127.0.0.1:{free_port()}" for name in SERVICES}
    edge = f"127.0.0.1:{free_port()}"
    own = {
        "TENANTRY_STATE": str(state),
        "TENANTRY_EDGE_LISTEN": edge,
        "TENANTRY_EDGE_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
        "TENANTRY_BOOKS_URL": books.url,
        "TENANTRY_CACHE_URL": cache.url,
        "TENANTRY_MODELS_LOOPBACK": "1",
        "TENANTRY_ISSUERS_LOOPBACK": "1",
        **{f"TENANTRY_{name.upper()}_ADDRESS": address for name, address in addresses.items()},
        **more,
    }
    operator = initialised(state).operator_key.read_text().strip()
    return RunningMesh(topology, state, edge, operator, addresses, os.environ | own, books, cache)


def _bearer(key: str) -> Any:
    """An interceptor of all four shapes that adds a key to every call."""
    pair = ("authorization", f"Bearer {key}")

    def add(_self: Any, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_Details(details, [*(details.metadata or ()), pair]), request)

    shapes = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
    kinds = tuple(getattr(grpc, f"{shape}ClientInterceptor") for shape in shapes)
    names = ("intercept_unary_unary", "intercept_unary_stream", "intercept_stream_unary", "intercept_stream_stream")
    return type("Bearer", kinds, dict.fromkeys(names, add))()


class _Details(grpc.ClientCallDetails):
    """Call details with other metadata, and a time limit for calls that have none."""

    def __init__(self, details: Any, metadata: Any) -> None:
        self.method = details.method
        self.timeout = 60.0 if details.timeout is None else details.timeout
        self.metadata = metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression
