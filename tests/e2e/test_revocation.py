"""Who loses his right is refused everywhere within seconds: new calls and those that run; and what ran is in the ledger."""

import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from tenantry.api.common.v1 import usage_pb2
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit.status import from_rpc_error
from tenantry.tenancy.roles import ROLES, TENANT_SERVICE
from tests.e2e.conftest import Client, client_of, register
from tests.harness.mesh import RunningMesh, TenantKeys
from tests.harness.poll import until
from tests.harness.provider import ProviderServer, Reply

WORST_S = 5.0
# Two minutes of words, unless somebody ends it.
ENDLESS = Reply("word " * 2400, token_s=0.05)


@dataclass
class Listener:
    """A client that reads a streamed answer in a thread of its own, until it ends."""

    request_id: str = ""
    pieces: int = 0
    ended_at: float = 0.0
    refused: Any = None
    thread: threading.Thread = field(init=False)

    def read(self, stream: Any) -> None:
        try:
            for piece in stream:
                self.request_id = self.request_id or piece.started.request_id
                self.pieces += bool(piece.text_delta)
        except grpc.RpcError as error:
            failure: Any = error
            self.refused = from_rpc_error(failure)
        self.ended_at = time.monotonic()


@dataclass
class Scene:
    """A tenant whose service key listens to an endless answer. `key_id` is that key's."""

    client: Client
    listener: Listener
    key_id: str
    keys: Any
    tenants: Any


@pytest.fixture
async def scene(mesh: RunningMesh, fake: ProviderServer) -> AsyncIterator[Scene]:
    admin = client_of(mesh, "revoked", {})
    register(admin, fake, "endless")
    fake.reply = ENDLESS
    keys = mesh.stub(KeyServiceStub, mesh.operator_key)
    scopes = sorted(ROLES[TENANT_SERVICE])
    made = keys.CreateApiKey(key_pb.CreateApiKeyRequest(tenant=admin.keys.tenant, scopes=scopes))
    own = TenantKeys(admin.keys.tenant, admin.keys.organisation, made.secret)
    client = Client(mesh, own, mesh.channel(made.secret))
    listener = Listener()
    stream = client.stream(f"Go on {secrets.token_hex(4)}.", model="endless", cache=2)
    listener.thread = threading.Thread(target=listener.read, args=(stream,))
    listener.thread.start()
    await until(lambda: listener.pieces > 2, within_s=20, what="the first words of the answer")
    yield Scene(client, listener, made.key.key_id, keys, mesh.stub(TenantServiceStub, mesh.operator_key))
    stream.cancel()
    listener.thread.join(20)


async def _is_cut(scene: Scene, act: Callable[[], Any], code: str, reason: str) -> None:
    acted_at = time.monotonic()
    act()
    await until(lambda: scene.listener.ended_at > 0, within_s=WORST_S + 1)
    assert scene.listener.ended_at - acted_at <= WORST_S
    assert (scene.listener.refused.code, scene.listener.refused.reason.value) == (code, reason)
    with pytest.raises(grpc.RpcError) as refused:
        scene.client.ask("And now?")
    failure: Any = refused.value
    assert (from_rpc_error(failure).code, from_rpc_error(failure).reason.value) == (code, reason)


async def _is_settled(scene: Scene, fake: ProviderServer, reader: str) -> None:
    """The provider's call is stopped, and what it had said is charged."""
    await until(lambda: fake.disconnects == 1, within_s=5, what="the end of the provider's call")
    usage = scene.client.mesh.stub(UsageServiceStub, reader)
    request = usage_pb.ListUsageRecordsRequest(tenant=scene.client.keys.tenant, request_id=scene.listener.request_id)
    await until(lambda: len(usage.ListUsageRecords(request).records) == 1, within_s=20, every_s=0.2)
    (record,) = usage.ListUsageRecords(request).records
    assert record.usage.outcome in (usage_pb2.OUTCOME_CANCELLED, usage_pb2.OUTCOME_FAILED)
    assert record.usage.output_tokens > 0 and record.usage.cost_micros > 0 and not record.estimated


async def test_a_revoked_keys_stream_is_cut_and_charged(scene: Scene, fake: ProviderServer) -> None:
    request = key_pb.RevokeApiKeyRequest(tenant=scene.client.keys.tenant, key_id=scene.key_id)
    await _is_cut(scene, lambda: scene.keys.RevokeApiKey(request), "UNAUTHENTICATED", "CREDENTIAL_INVALID")
    await _is_settled(scene, fake, scene.client.mesh.operator_key)


async def test_a_suspended_tenants_stream_is_cut_and_charged_and_it_is_served_again_when_resumed(
    scene: Scene, fake: ProviderServer
) -> None:
    tenant = scene.client.keys.tenant
    suspend = tenant_pb.SuspendTenantRequest(tenant=tenant)
    await _is_cut(scene, lambda: scene.tenants.SuspendTenant(suspend), "FAILED_PRECONDITION", "TENANT_NOT_ACTIVE")
    assert scene.listener.refused.metadata == {"state": "SUSPENDED"}
    await _is_settled(scene, fake, scene.client.mesh.operator_key)
    scene.tenants.ResumeTenant(tenant_pb.ResumeTenantRequest(tenant=tenant))
    fake.reply = Reply("Here again.")
    assert scene.client.ask("And now?", model="endless").text == "Here again."
