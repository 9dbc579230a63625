"""Envoy's Authorization: the same decision as AuthenticateCaller's, in the words that Envoy understands."""

from typing import Any

from google.protobuf.struct_pb2 import Struct
from grpc import StatusCode, aio

from tenantry.api.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from tenantry.api.envoy.service.auth.v3 import external_auth_pb2 as pb
from tenantry.api.envoy.service.auth.v3 import external_auth_pb2_grpc as grpc_pb
from tenantry.api.envoy.type.v3.http_status_pb2 import HttpStatus
from tenantry.kit import call, envoy, telemetry
from tenantry.kit.access import EDGE
from tenantry.kit.audit_refusals import OF_ALL, Refusal
from tenantry.kit.credential import credential_of
from tenantry.kit.errors import Internal, TenantryError
from tenantry.kit.faults import report
from tenantry.kit.guard import unique
from tenantry.kit.owner import Platform
from tenantry.kit.status import INTERNAL_MESSAGE
from tenantry.tenancy.audit import Refusals
from tenantry.tenancy.authentication import Authenticated, Authentication


class AuthorizationService(grpc_pb.AuthorizationServicer):
    """Serves Envoy's contract. Every refusal is an answer that holds all of it, since Envoy shows no error of this RPC."""

    def __init__(self, authentication: Authentication, refusals: Refusals) -> None:
        self._authentication = authentication
        self._refusals = refusals

    async def Check(self, request: pb.CheckRequest, context: aio.ServicerContext[Any, Any]) -> pb.CheckResponse:
        asked = request.attributes
        try:
            sent = unique((one.key, one.raw_value.decode("latin-1")) for one in asked.request.http.header_map.headers)
            # Of the connection, as Envoy saw it: whatever headers say of others is the client's word.
            client = asked.source.address.socket_address.address
            found = await self._authentication.authenticate(credential_of(sent), telemetry.set_tenant, client)
            return _admitted(found)
        except TenantryError as error:
            if error.code in OF_ALL and not error.noted:  # for the guard the call is a success
                refusal = Refusal(
                    Platform(), f"service:{EDGE}", "AuthenticateCaller", "", error.code, error.reason.value
                )
                self._refusals.note(refusal)
            return _denied(error, report("Check", error) if isinstance(error, Internal) else "")


def _admitted(found: Authenticated) -> pb.CheckResponse:
    """The credential ends here; inside, the assertion says who calls."""
    pairs = [(call.ASSERTION, found.assertion), *([(call.TENANT, found.tenant)] if found.tenant else [])]
    known = Struct()
    said = {envoy.TENANT: found.tenant, envoy.ORGANISATION: found.organisation, envoy.TIER: found.tier}
    known.update({name: value for name, value in said.items() if value})
    return pb.CheckResponse(
        status=pb.CheckResponse.Status(code=StatusCode.OK.value[0]),
        ok_response=pb.OkHttpResponse(
            headers=[HeaderValueOption(header=HeaderValue(key=key, value=value)) for key, value in pairs],
            headers_to_remove=["authorization"],
        ),
        dynamic_metadata=known,
    )


def _denied(error: TenantryError, error_id: str) -> pb.CheckResponse:
    headers = envoy.refusal_headers(error, error_id)
    return pb.CheckResponse(
        status=pb.CheckResponse.Status(code=StatusCode[error.code].value[0]),
        denied_response=pb.DeniedHttpResponse(
            status=HttpStatus(code=envoy.HTTP_STATUS[error.code]),
            headers=[HeaderValueOption(header=header) for header in headers],
            body=INTERNAL_MESSAGE if isinstance(error, Internal) else error.message,
        ),
    )
