"""One room served for a test, called over the real stubs by any caller and any service, in process or over the network.

async with served(Hosted("prompts", server.build, settings), tmp_path, kind="network") as room:
    stub = PromptServiceStub(room.channel(service=None))
    with room.calling(caller_of("acme", scopes={"prompts.read"})):
        await stub.GetPrompt(...)
"""

import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc import aio
from opentelemetry.sdk.trace.export import SpanExporter

from tenantry.kit import call
from tenantry.kit.assertion import sign_assertion, sign_service_token
from tenantry.kit.caller import Caller
from tenantry.kit.certificate import Shown
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.host import Host, Hosted, hosting
from tenantry.kit.server import Registry
from tenantry.kit.settings import SERVICES, MeshSettings
from tests.harness.revocations import nobody_revoked

KEY_ID = "test-key"
_LIFE_S = 3600.0
Kind = Literal["inprocess", "network"]


def caller_of(
    tenant: str = "acme",
    organisation: str = "acme-org",
    *,
    scopes: Collection[str] = (),
    tier: str = "pro",
    key_id: str = "key_1",
    models: tuple[str, ...] = (),
    collections: tuple[str, ...] = (),
    life_s: float = 86_400.0,
) -> Caller:
    """A caller of a tenant (`tenant=""` for an organisation's admin, `organisation=""` too for an operator)."""
    return Caller(
        tenant, organisation, tier, key_id, frozenset(scopes), key_id, models, collections, 0, 0, time.time() + life_s
    )


class Served:
    """A running host and the means to call its rooms."""

    def __init__(self, host: Host, key: Ed25519PrivateKey, kind: Kind, names: Collection[str]) -> None:
        self.host = host
        self.key = key
        self._kind = kind
        self._names = names
        self._meshes: list[Mesh] = []

    def channel(self, name: str = "", *, service: str | None = None, certificate: Shown | None = None) -> aio.Channel:
        """The channel of a peer with the identity `service` (None: an outsider) to a room (the first, unless named). It
        shows a token, or a certificate."""
        token = service_token(self.key, service) if service and certificate is None else ""
        registry = self.host.registry if self._kind == "inprocess" else Registry()
        settings = MeshSettings("", "", dict.fromkeys((*SERVICES, *self._names), self.host.mesh))
        mesh = Mesh(service or "", settings, registry, lambda: token, SystemClock(), certificate=certificate)
        self._meshes.append(mesh)
        return mesh.channel(name or next(iter(self._names)))

    @contextmanager
    def calling(self, caller: Caller | None, request_id: str = "") -> Iterator[None]:
        """Calls in the block carry an assertion of `caller`."""
        token = sign_assertion(self.key, KEY_ID, caller, time.time()) if caller else ""
        with call.entered(call.Call(caller=caller, request_id=request_id, assertion=token)):
            yield

    async def close(self) -> None:
        """Closes the channels."""
        for mesh in self._meshes:
            await mesh.close()


def service_token(key: Ed25519PrivateKey, service: str) -> str:
    """A service token that the test's rooms believe."""
    now = time.time()
    return sign_service_token(key, KEY_ID, service, now, now + _LIFE_S)


@asynccontextmanager
async def served(
    *hosted: Hosted,
    state: Path,
    kind: Kind = "inprocess",
    exporters: tuple[SpanExporter, ...] = (),
    otlp_metrics_endpoint: str = "",
    tls: Path | None = None,
    max_concurrent_calls: int = 4_096,
    trace_ratio: float = 1.0,
) -> AsyncIterator[Served]:
    """Serves rooms whose tokens and assertions are signed by a key of the test's own."""
    key = Ed25519PrivateKey.generate()
    tokens = state / "tokens"
    tokens.mkdir(parents=True, exist_ok=True)
    for one in hosted:
        (tokens / f"{one.name}.token").write_text(service_token(key, one.name))
    settings = MeshSettings(
        "127.0.0.1:0",
        "",
        {},
        tokens=tokens,
        drain_s=1.0,
        otlp_metrics_endpoint=otlp_metrics_endpoint,
        tls=tls,
        max_concurrent_calls=max_concurrent_calls,
        trace_ratio=trace_ratio,
    )

    async def keys() -> Mapping[str, bytes]:
        return {KEY_ID: key.public_key().public_bytes_raw()}

    async with hosting(hosted, settings, exporters=exporters, signing_keys=keys, revocations=nobody_revoked()) as host:
        running = Served(host, key, kind, [one.name for one in hosted])
        try:
            yield running
        finally:
            await running.close()
