"""Wires tenancy: its tables and secret, its memories, the worker that on- and offboards, its five services."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager

from tenantry.api.envoy.service.auth.v3.external_auth_pb2_grpc import add_AuthorizationServicer_to_server
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from tenantry.api.tenancy.v1.issuer_service_pb2_grpc import add_IssuerServiceServicer_to_server
from tenantry.api.tenancy.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import add_TenantServiceServicer_to_server
from tenantry.kit import contracts
from tenantry.kit.changes import Poller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.server import Room
from tenantry.tenancy.api_keys import ApiKeys
from tenantry.tenancy.audit import AuditLogs, Refusals
from tenantry.tenancy.audit_recording import AuditRecording
from tenantry.tenancy.authentication import Authentication
from tenantry.tenancy.discovery import Discovery
from tenantry.tenancy.initialise import opened
from tenantry.tenancy.issuer_keys import IssuerKeys
from tenantry.tenancy.issuer_tokens import IssuerTokens
from tenantry.tenancy.issuers import Issuers
from tenantry.tenancy.lifecycle_mesh import MeshLifecycle
from tenantry.tenancy.onboarding import Onboarding
from tenantry.tenancy.operations import Operations
from tenantry.tenancy.organisations import Organisations
from tenantry.tenancy.revocations import RevocationFeed
from tenantry.tenancy.service.audit import AuditService
from tenantry.tenancy.service.authorization import AuthorizationService
from tenantry.tenancy.service.identity import IdentityService
from tenantry.tenancy.service.issuers import IssuerService
from tenantry.tenancy.service.keys import KeyService
from tenantry.tenancy.service.tenants import TenantService
from tenantry.tenancy.settings import Settings
from tenantry.tenancy.signing import Signer
from tenantry.tenancy.signing_rotation import SigningRotation
from tenantry.tenancy.tenants import Tenants


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs."""
    clock = SystemClock()
    contracts.load()
    async with (
        opened(settings, clock) as (database, store, secret),
        aclosing(Discovery(loopback=settings.loopback_issuers)) as discovery,
    ):
        refusals = Refusals(store, clock)
        signer = Signer(store, secret, clock)
        tokens = IssuerTokens(store, IssuerKeys(discovery.keys, clock), secret.pepper, clock)
        authentication = Authentication(store, secret.pepper, signer, refusals, tokens, clock)
        memories = (authentication.keys, authentication.tenants, tokens.issuers, signer.memory)
        feed = RevocationFeed(store, clock)
        store.keep_true((*memories, feed))
        poller = Poller(database, (*memories, feed))
        await poller.poll()
        rotation = SigningRotation(store, secret, clock)
        onboarding = Onboarding(store, MeshLifecycle(mesh), clock)
        keys = ApiKeys(store, secret.pepper, clock)
        issuers = Issuers(store, discovery.keys, clock, loopback=settings.loopback_issuers)
        tenants = Tenants(store, clock, onboarding.wake)

        async def signing_keys() -> Mapping[str, bytes]:
            return {key.id: key.public_key for key in await signer.valid_keys()}

        yield Room(
            "tenancy",
            [
                (
                    add_TenantServiceServicer_to_server,
                    TenantService(Organisations(store, clock), tenants, Operations(store, clock), refusals),
                ),
                (add_KeyServiceServicer_to_server, KeyService(keys, refusals)),
                (add_IssuerServiceServicer_to_server, IssuerService(issuers, refusals)),
                (add_IdentityServiceServicer_to_server, IdentityService(authentication, signer, feed)),
                (add_AuthorizationServicer_to_server, AuthorizationService(authentication, refusals)),
                (
                    add_AuditServiceServicer_to_server,
                    AuditService(
                        AuditLogs(store), refusals, AuditRecording(store, clock), contracts.administrators_rpcs
                    ),
                ),
            ],
            [
                poller.run,
                onboarding.run,
                refusals.run,
                keys.sweep_for_ever,
                authentication.last_use.run,
                rotation.run,
                feed.trim_for_ever,
            ],
            signing_keys,
        )
