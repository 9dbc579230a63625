"""Who may call an RPC: reads the `access` option of its contract, and decides about one verified call.

Strangers may ask for paths without end, so nothing here remembers any: who asks about an RPC keeps the answer with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from tenantry.api.common.v1 import access_pb2
from tenantry.kit.errors import PermissionDenied, Reason, Unauthenticated

if TYPE_CHECKING:
    from tenantry.kit.caller import Caller

_AUDIENCES = {
    access_pb2.AUDIENCE_PUBLIC: "public",
    access_pb2.AUDIENCE_ADMIN: "admin",
    access_pb2.AUDIENCE_MESH: "mesh",
}
_CALLERS = {
    access_pb2.CALLER_RULE_REQUIRED: "required",
    access_pb2.CALLER_RULE_RECEIPT: "receipt",
    access_pb2.CALLER_RULE_NONE: "none",
}


@dataclass(frozen=True, slots=True)
class Access:
    """The rule for one RPC. `open` is for foreign protos alone: no contract of ours can say it."""

    audience: Literal["public", "admin", "mesh", "open"]
    scope: str
    caller: Literal["required", "receipt", "none"]
    services: tuple[str, ...]


OPEN = Access("open", "", "none", ())
ANY_SERVICE = Access("mesh", "", "none", ())
# Envoy's identity is less than a service's: it may call what names it, and nothing else.
EDGE = "edge"

# RPCs of protos that are not ours carry no option, so their rules stand here; one that is missing is refused at start.
FOREIGN: Mapping[str, Access] = {
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/List": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": OPEN,
    "/envoy.service.auth.v3.Authorization/Check": Access("mesh", "", "none", (EDGE,)),
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit": Access("mesh", "", "none", (EDGE,)),
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": ANY_SERVICE,
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": ANY_SERVICE,
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": ANY_SERVICE,
}


@dataclass(frozen=True, slots=True)
class Verified:
    """What the proofs that came with a call were found to say."""

    caller: "Caller | None"
    identity: str | None


class Authenticator(Protocol):
    """Checks a call's proofs. It raises for a proof that is wrong, and reports absence for `admit` to judge."""

    async def authenticate(
        self, path: str, access: Access, metadata: Mapping[str, str], certified: str | None = None
    ) -> Verified:
        """Verifies the assertion and the service token in `metadata`, whose names are unique. A service that its
        certificate names needs no token."""
        ...


def method_of(path: str) -> MethodDescriptor | None:
    """The descriptor behind `/package.Service/Method`, if its stubs have been imported."""
    service, _, name = path.removeprefix("/").partition("/")
    try:
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return None
    # The pool reads a name to its first NUL and takes a dot for the slash: no RPC has more than its one path.
    return method if path == f"/{method.containing_service.full_name}/{method.name}" else None


def access_of(path: str) -> Access | None:
    """The rule for an RPC; None for one that has no rule or half a one, which nobody may then call."""
    if path in FOREIGN:
        return FOREIGN[path]
    method = method_of(path)
    if method is None or not method.GetOptions().HasExtension(access_pb2.access):
        return None
    option = method.GetOptions().Extensions[access_pb2.access]
    audience = _AUDIENCES.get(option.audience)
    caller = _CALLERS.get(option.caller)
    if audience is None or caller is None:
        return None
    # Outside callers are always known and always need a right; a mesh RPC rests on the service identity alone.
    if (audience == "mesh") == bool(option.scope) or (audience != "mesh" and caller != "required"):
        return None
    return Access(
        cast(Literal["public", "admin", "mesh"], audience),
        option.scope,
        cast(Literal["required", "receipt", "none"], caller),
        tuple(option.services),
    )


def service_of(path: str) -> str | None:
    """The service that owns an RPC. None for foreign RPCs and for the lifecycle contract, which every service has."""
    parts = path.removeprefix("/").split(".")
    if len(parts) < 4 or parts[:2] != ["tenantry", "api"] or parts[2] == "lifecycle":
        return None
    return parts[2]


def admit(access: Access, verified: Verified) -> None:
    """Refuses a call that its proofs don't entitle to the RPC."""
    if access.audience == "open":
        return
    if verified.identity == EDGE and EDGE not in access.services:
        raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, "this RPC is not for the edge")
    if access.audience == "mesh":
        if verified.identity is None:
            raise Unauthenticated(Reason.SERVICE_IDENTITY_INVALID, "this RPC is for services of the mesh")
        if access.services and verified.identity not in access.services:
            raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, "this RPC is for other services of the mesh")
    if access.caller == "required" and verified.caller is None:
        raise Unauthenticated(Reason.CREDENTIAL_MISSING, "the call carries no credential")
    if access.audience == "mesh" or (verified.identity is not None and verified.identity in access.services):
        return
    if verified.caller is None or access.scope not in verified.caller.scopes:
        raise PermissionDenied(Reason.SCOPE_MISSING, f"the caller lacks the scope {access.scope}", scope=access.scope)
