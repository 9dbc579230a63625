"""What a request passes in Envoy: headers that are dropped before anything looks at them, tenancy's word, quota's limit."""

from tenantry.cli.envoy.clusters import ASK_QUOTA, ASK_TENANCY
from tenantry.cli.envoy.proto import Message, header, seconds, typed
from tenantry.cli.envoy.routes import AUTHORIZATION, SMALL
from tenantry.cli.envoy.settings import Bounds
from tenantry.kit import call

# Of a client's own headers, what a service could take for somebody's word inside the mesh.
_DROPPED_PREFIXES = ("x-tenant", "x-envoy-")
_DROPPED = ("baggage", "tracestate", call.TRACEPARENT)


def early_mutation() -> Message:
    """Drops them before routing and before tenancy is asked. The client's trace is kept under another name."""
    return typed(
        "envoy.http.early_header_mutation.header_mutation",
        "http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[
            {"remove": call.CLIENT_TRACEPARENT},
            {"append": header(call.CLIENT_TRACEPARENT, "%REQ(TRACEPARENT)%")},
            *({"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in _DROPPED_PREFIXES),
            *({"remove": name} for name in _DROPPED),
        ],
    )


def filters(bounds: Bounds) -> list[Message]:
    """In the order of a request."""
    return [
        _small(bounds),
        _authorization(bounds),
        _limit(bounds),
        typed("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True),
    ]


def _small(bounds: Bounds) -> Message:
    """For routes that strangers may take, which turn it on: a message that is no more than a question."""
    return typed(SMALL, "filters.http.buffer.v3.Buffer", max_request_bytes=bounds.question_bytes) | {"disabled": True}


def _authorization(bounds: Bounds) -> Message:
    return typed(
        AUTHORIZATION,
        "filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service=_asked(ASK_TENANCY, bounds),
        # Tenancy away means that nobody enters.
        failure_mode_allow=False,
        status_on_error={"code": 503},
        # As they came, so that a doubled credential is seen to be one.
        encode_raw_headers=True,
        allowed_headers={"patterns": [{"exact": "authorization"}]},
    )


def _limit(bounds: Bounds) -> Message:
    return typed(
        "envoy.filters.http.ratelimit",
        "filters.http.ratelimit.v3.RateLimit",
        domain="tenantry",
        timeout=seconds(bounds.answer_s),
        failure_mode_deny=True,
        status_on_error={"code": 503},
        rate_limited_as_resource_exhausted=True,
        disable_x_envoy_ratelimited_header=True,
        rate_limit_service={"transport_api_version": "V3", "grpc_service": _asked(ASK_QUOTA, bounds)},
    )


def _asked(cluster: str, bounds: Bounds) -> Message:
    return {"envoy_grpc": {"cluster_name": cluster}, "timeout": seconds(bounds.answer_s)}
