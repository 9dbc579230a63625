"""A real tenancy among services that a test directs, called over the real stubs with real keys."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

from grpc import aio

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import AuditServiceStub
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.api.tenancy.v1.issuer_service_pb2_grpc import IssuerServiceStub
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.kit import call, lifecycle
from tenantry.kit.access import access_of
from tenantry.kit.assertion import Keyring, TokenAuthenticator
from tenantry.kit.caller import Caller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.host import Hosted, hosting
from tenantry.kit.owner import Tenant
from tenantry.kit.server import Registry, Room
from tenantry.kit.settings import MeshSettings
from tenantry.tenancy import server
from tenantry.tenancy.initialise import initialise
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN, TENANT_SERVICE
from tenantry.tenancy.settings import Settings
from tests.harness.initialised import initialised, settings_in

WITH_TENANTS = ("quota", "retrieval", "cache", "prompts", "models", "insight")
Kind = Literal["inprocess", "network"]


class Town:
    """The services' side of the lifecycle contract: what they were asked, and who is away."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.away: Counter[str] = Counter()
        self.held: dict[str, asyncio.Event] = {}

    def hosted(self) -> list[Hosted]:
        """A service each."""
        return [Hosted(name, self._build, name) for name in WITH_TENANTS]

    @asynccontextmanager
    async def _build(self, name: str, _: Mesh) -> AsyncGenerator[Room]:
        async def provision(tenant: Tenant, tier: str) -> str:
            return await self._answer("provision", name, tenant)

        async def deprovision(tenant: Tenant) -> str:
            return await self._answer("deprovision", name, tenant)

        yield Room(name, [(lifecycle.add_to_server, lifecycle.LifecycleService(provision, deprovision))])

    async def _answer(self, what: str, name: str, tenant: Tenant) -> str:
        self.asked.append((what, name, tenant.id))
        if name in self.held:
            await self.held[name].wait()
        if self.away[name] > 0:
            self.away[name] -= 1
            raise FailedPrecondition(Reason.STORE_UNFIT, "not yet")  # which a channel does not repeat by itself
        return f"{what}: done for {tenant.id}"


class World:
    """The stubs, and means to call them as somebody. `address` is where tenancy is, `registry` where in this process."""

    def __init__(self, address: str, settings: Settings, town: Town, registry: Registry | None = None) -> None:
        self.settings = settings
        self.address = address
        self.town = town
        self.operator = settings.operator_key.read_text()
        self._registry = registry or Registry()
        self._meshes: list[Mesh] = []
        outside = self.channel()
        self.tenants: Any = TenantServiceStub(outside)
        self.keys: Any = KeyServiceStub(outside)
        self.issuers: Any = IssuerServiceStub(outside)
        self.audit: Any = AuditServiceStub(outside)
        self.identity: Any = IdentityServiceStub(self.channel("gateway"))
        self._authenticator = TokenAuthenticator(Keyring(self._public_keys, SystemClock()), SystemClock())

    def token(self, service: str) -> str:
        """A service's token, as `initialise` wrote it."""
        return (self.settings.tokens / f"{service}.token").read_text()

    def channel(self, service: str = "") -> aio.Channel:
        """A channel to tenancy, of a service of the mesh or of an outsider."""
        token = self.token(service) if service else ""
        mesh = Mesh(
            service, MeshSettings("", "", {"tenancy": self.address}), self._registry, lambda: token, SystemClock()
        )
        self._meshes.append(mesh)
        return mesh.channel("tenancy")

    async def authenticate(self, secret: str, client_address: str = "") -> Any:
        """What tenancy answers to the edge about a credential."""
        request = identity_pb.AuthenticateCallerRequest(credential=secret, client_address=client_address)
        return await self.identity.AuthenticateCaller(request)

    async def caller(self, assertion: str) -> Caller:
        """The caller that a service of the mesh sees in an assertion."""
        access = access_of("/tenantry.api.tenancy.v1.KeyService/ListApiKeys")
        assert access is not None
        verified = await self._authenticator.authenticate("", access, {call.ASSERTION: assertion})
        assert verified.caller is not None
        return verified.caller

    async def call_of(self, secret: str, client_address: str = "") -> call.Call:
        """The call of whoever holds the key, as the edge makes it."""
        answer = await self.authenticate(secret, client_address)
        return call.Call(caller=await self.caller(answer.assertion), assertion=answer.assertion)

    @asynccontextmanager
    async def as_holder(self, secret: str) -> AsyncGenerator[None]:
        """Calls in the block are those of whoever holds the key."""
        with self.as_caller(await self.call_of(secret)):
            yield

    @contextmanager
    def as_caller(self, one: call.Call) -> Generator[None]:
        """Calls in the block carry what this call carries."""
        with call.entered(one):
            yield

    async def organisation(self, organisation: str) -> None:
        """An organisation, made by the operator."""
        async with self.as_holder(self.operator):
            await self.tenants.CreateOrganisation(tenant_pb.CreateOrganisationRequest(organisation=organisation))

    async def tenant(self, tenant: str, organisation: str) -> None:
        """An ACTIVE tenant in an organisation of its own, made by the operator."""
        await self.organisation(organisation)
        async with self.as_holder(self.operator):
            made = await self.tenants.CreateTenant(
                tenant_pb.CreateTenantRequest(tenant=tenant, organisation=organisation, tier=tenant_pb2.TIER_PRO)
            )
            await self.ended(made.operation.operation)

    async def ended(self, operation: str) -> list[Any]:
        """Every state of the operation that a watcher is sent."""
        request = tenant_pb.WatchOperationRequest(operation=operation)
        async with asyncio.timeout(20):
            return [response.operation async for response in self.tenants.WatchOperation(request)]

    async def key(
        self, tenant: str = "", organisation: str = "", scopes: Collection[str] = (), **more: Any
    ) -> tuple[str, str]:
        """Id and secret of a key that the operator makes; a tenant's admin's unless scopes are given."""
        request = key_pb.CreateApiKeyRequest(
            tenant=tenant, organisation=organisation, scopes=sorted(scopes or ROLES[TENANT_ADMIN]), **more
        )
        async with self.as_holder(self.operator):
            made = await self.keys.CreateApiKey(request)
        return made.key.key_id, made.secret

    async def revocations(self) -> list[Any]:
        """Whom a service of the mesh is told of now."""
        stream = IdentityServiceStub(self.channel("models")).WatchRevocations(
            iter([identity_pb.WatchRevocationsRequest(ping=1)])
        )
        async with asyncio.timeout(5):
            return [revocation async for answer in stream for revocation in answer.revocations]

    async def close(self) -> None:
        """Closes the channels."""
        for mesh in self._meshes:
            await mesh.close()

    async def _public_keys(self) -> dict[str, bytes]:
        answer = await self.identity.ListSigningKeys(identity_pb.ListSigningKeysRequest())
        return {key.key_id: key.public_key for key in answer.keys}


@asynccontextmanager
async def world(
    state: Path, kind: Kind = "inprocess", exporters: Sequence[Any] = (), *, loopback_issuers: bool = True
) -> AsyncGenerator[World]:
    """A world with what `state` holds from before, or a new one."""
    settings = settings_in(state, loopback_issuers=loopback_issuers)
    if settings.operator_key.exists():
        await initialise(settings)
    else:
        initialised(state)
    town = Town()
    mesh = MeshSettings("127.0.0.1:0", "", {}, tokens=settings.tokens, drain_s=1.0)
    hosted = [Hosted("tenancy", server.build, settings), *town.hosted()]
    async with hosting(hosted, mesh, exporters=exporters) as host:
        running = World(host.mesh, settings, town, host.registry if kind == "inprocess" else None)
        try:
            yield running
        finally:
            await running.close()


SERVICE_SCOPES = sorted(ROLES[TENANT_SERVICE])
