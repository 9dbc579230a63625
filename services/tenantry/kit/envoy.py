"""What the services that Envoy asks, and its configuration, must agree on; and our refusals in the form that Envoy takes."""

import base64

from google.rpc import status_pb2  # pyright: ignore[reportMissingTypeStubs]

from tenantry.api.envoy.config.core.v3.base_pb2 import HeaderValue
from tenantry.kit.errors import TenantryError
from tenantry.kit.status import DETAILS, limit_headers, to_status

# What tenancy says of a caller to Envoy's limit and log: names in dynamic metadata, and of a descriptor's entries.
TENANT, ORGANISATION, TIER = "tenant", "organisation", "tier"

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def refusal_headers(error: TenantryError, error_id: str = "") -> list[HeaderValue]:
    """The headers by which a client of gRPC knows the refusal, code and details, as kit's own edge would send them."""
    status = to_status(error, error_id)
    told = (("grpc-status", str(status.code)), (DETAILS, encoded(status)), *limit_headers(error))
    return [HeaderValue(key=key, value=value) for key, value in told]


def encoded(status: status_pb2.Status) -> str:
    """A status as the text of a header whose name ends in `-bin`."""
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")
