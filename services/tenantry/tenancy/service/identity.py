"""IdentityService: credentials to assertions, and the keys that verify them, for the edge and the mesh."""

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from tenantry.api.tenancy.v1 import identity_service_pb2 as pb
from tenantry.api.tenancy.v1 import identity_service_pb2_grpc as grpc_pb
from tenantry.kit import caller, telemetry
from tenantry.kit.errors import Reason, Unauthenticated
from tenantry.tenancy import checks
from tenantry.tenancy.authentication import Authentication
from tenantry.tenancy.revocations import RevocationFeed
from tenantry.tenancy.service import convert, revocations
from tenantry.tenancy.signing import Signer

Context = aio.ServicerContext[Any, Any]


class IdentityService(grpc_pb.IdentityServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, authentication: Authentication, signer: Signer, feed: RevocationFeed) -> None:
        self._authentication = authentication
        self._signer = signer
        self._feed = feed

    async def AuthenticateCaller(
        self, request: pb.AuthenticateCallerRequest, context: Context
    ) -> pb.AuthenticateCallerResponse:
        found = await self._authentication.authenticate(
            request.credential, telemetry.set_tenant, checks.client_address(request.client_address)
        )
        return pb.AuthenticateCallerResponse(
            assertion=found.assertion,
            tenant=found.tenant,
            tier=found.tier,
            expire_time=convert.timestamp(round(found.expires_at * 1e9)),
        )

    async def ListSigningKeys(self, request: pb.ListSigningKeysRequest, context: Context) -> pb.ListSigningKeysResponse:
        keys = await self._signer.valid_keys()
        return pb.ListSigningKeysResponse(
            keys=[pb.SigningKey(key_id=key.id, public_key=key.public_key) for key in keys]
        )

    async def RenewServiceToken(
        self, request: pb.RenewServiceTokenRequest, context: Context
    ) -> pb.RenewServiceTokenResponse:
        service = caller.identity()
        if service is None:
            raise Unauthenticated(Reason.SERVICE_IDENTITY_INVALID, "this RPC is for services of the mesh")
        token, ends = await self._signer.sign_service(service)
        return pb.RenewServiceTokenResponse(token=token, expire_time=convert.timestamp(round(ends * 1e9)))

    def WatchRevocations(
        self, request_iterator: AsyncIterator[pb.WatchRevocationsRequest], context: Context
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        return revocations.watch(self._feed, request_iterator)
