"""Who loses his right is refused everywhere within seconds: new calls and those that run; and what ran is in the ledger."""

import asyncio
import contextlib
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.common.v1 import usage_pb2
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit import call
from tenantry.kit.revocations import MAX_AGE_S
from tenantry.kit.status import from_rpc_error
from tenantry.tenancy.roles import ROLES, TENANT_SERVICE
from tests.e2e.conftest import Client, client_of, register
from tests.harness.mesh import RunningMesh, TenantKeys, running_mesh, stub_of
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


@asynccontextmanager
async def streaming(mesh: RunningMesh, fake: ProviderServer) -> AsyncIterator[Scene]:
    """A scene on this mesh, while the block runs."""
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


@pytest.fixture
async def scene(mesh: RunningMesh, fake: ProviderServer) -> AsyncIterator[Scene]:
    async with streaming(mesh, fake) as running:
        yield running


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

    def counted() -> bool:
        # A service serves again when it has heard of tenancy, which may just be back.
        with contextlib.suppress(grpc.RpcError):
            return len(usage.ListUsageRecords(request).records) == 1
        return False

    await until(counted, within_s=20, every_s=0.2)
    (record,) = usage.ListUsageRecords(request).records
    assert record.usage.outcome in (usage_pb2.OUTCOME_CANCELLED, usage_pb2.OUTCOME_FAILED)
    assert record.usage.output_tokens > 0 and record.usage.cost_micros > 0 and not record.estimated


def _says(sent: Any) -> str:
    """The reason of the refusal, or OK."""
    try:
        sent.result(timeout=20)
    except grpc.RpcError as error:
        failure: Any = error
        return from_rpc_error(failure).reason.value
    return "OK"


async def test_a_paused_service_refuses_before_it_serves_and_without_tenancy_nobody_is_served(
    tmp_path: Path, fake: ProviderServer
) -> None:
    with running_mesh("processes", tmp_path / "state") as mesh:
        async with streaming(mesh, fake) as scene:
            tenant = scene.client.keys.tenant
            spare = scene.keys.CreateApiKey(key_pb.CreateApiKeyRequest(tenant=tenant, scopes=["prompts.read"]))
            token = (mesh.state / "tokens" / "gateway.token").read_text().strip()
            with (
                grpc.insecure_channel(mesh.addresses["tenancy"]) as tenancy,
                grpc.insecure_channel(mesh.addresses["prompts"]) as prompts,
            ):
                asked = identity_pb.AuthenticateCallerRequest(credential=spare.secret)
                answer = stub_of(IdentityServiceStub, tenancy).AuthenticateCaller(
                    asked, metadata=((call.SERVICE, token),), timeout=10
                )
                proof = ((call.ASSERTION, answer.assertion),)
                list_prompts = stub_of(PromptServiceStub, prompts).ListPrompts
                assert _says(list_prompts.future(prompt_pb.ListPromptsRequest(), metadata=proof)) == "OK"
                mesh.processes["prompts"].send_signal(signal.SIGSTOP)
                try:
                    scene.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(tenant=tenant, key_id=spare.key.key_id))
                    waiting = list_prompts.future(prompt_pb.ListPromptsRequest(), metadata=proof)
                    await asyncio.sleep(MAX_AGE_S + 0.5)
                finally:
                    mesh.processes["prompts"].send_signal(signal.SIGCONT)
                assert _says(waiting) in ("SERVICE_UNAVAILABLE", "CREDENTIAL_INVALID")
                said: list[str] = []

                def heard() -> bool:
                    said.append(_says(list_prompts.future(prompt_pb.ListPromptsRequest(), metadata=proof)))
                    return said[-1] == "CREDENTIAL_INVALID"

                await until(heard, within_s=5)
                assert "OK" not in said
            mesh.kill("tenancy")
            killed_at = time.monotonic()
            await until(lambda: scene.listener.ended_at > 0, within_s=WORST_S + 1)
            assert scene.listener.ended_at - killed_at <= WORST_S
            assert scene.listener.refused.code == "UNAVAILABLE" and scene.listener.refused.retry_after_s
            mesh.start("tenancy")
            mesh.wait_ready()
            await _is_settled(scene, fake, mesh.operator_key)


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


async def test_a_stream_outlives_its_key_and_is_charged(mesh: RunningMesh, fake: ProviderServer) -> None:
    admin = client_of(mesh, "ending", {})
    register(admin, fake, "slow")
    end = Timestamp(seconds=int(time.time()) + 3)
    secret = mesh.key(admin.keys.tenant, sorted(ROLES[TENANT_SERVICE]), expire_time=end)
    client = Client(mesh, TenantKeys(admin.keys.tenant, admin.keys.organisation, secret), mesh.channel(secret))
    fake.script(Reply("word " * 50, token_s=0.1))
    pieces = list(client.stream("Go on.", model="slow", cache=2))
    assert pieces[-1].HasField("completed") and time.time() > end.seconds
    with pytest.raises(grpc.RpcError) as refused:
        client.ask("And now?")
    failure: Any = refused.value
    assert from_rpc_error(failure).reason.value == "CREDENTIAL_INVALID"
    usage = mesh.stub(UsageServiceStub, admin.keys.key)
    request = usage_pb.ListUsageRecordsRequest(request_id=pieces[0].started.request_id)
    await until(lambda: len(usage.ListUsageRecords(request).records) == 1, within_s=20, every_s=0.2)
    assert usage.ListUsageRecords(request).records[0].usage.outcome == usage_pb2.OUTCOME_OK
