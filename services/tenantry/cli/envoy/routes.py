"""Which RPC goes to which service: those that clients may call, each by its exact path, so that no other path leads inside."""

from tenantry.cli.envoy.clusters import HEALTH, WATCHED_HEALTH
from tenantry.cli.envoy.proto import Message, header, seconds, typed
from tenantry.cli.envoy.settings import Bounds
from tenantry.kit import call, contracts, envoy
from tenantry.kit.access import service_of

AUTHORIZATION = "envoy.filters.http.ext_authz"
SMALL = "envoy.filters.http.buffer"
# Envoy's own id of the request, in our words.
REQUEST_ID = "req_%REQ(X-REQUEST-ID)%"
_HEALTH = {"/grpc.health.v1.Health/Check": HEALTH, "/grpc.health.v1.Health/Watch": WATCHED_HEALTH}


def routes(bounds: Bounds, *, grpc: bool) -> Message:
    """The route table of a listener; with `grpc` for gRPC alone."""
    only: Message = {"grpc": {}} if grpc else {}
    rpcs = [_rpc(path, only) for path in contracts.paths()]
    return {
        "name": "grpc" if grpc else "http",
        "virtual_hosts": [
            {
                "name": "rpcs",
                "domains": ["*"],
                "routes": [*rpcs, *([_health(*one, bounds) for one in _HEALTH.items()] if grpc else [])],
            }
        ],
        "request_headers_to_add": [header(call.REQUEST_ID, REQUEST_ID)],
    }


def _rpc(path: str, only: Message) -> Message:
    return {
        "name": path,
        "match": {"path": path, **only},
        "route": {
            "cluster": service_of(path),
            "timeout": seconds(0),
            "rate_limits": [{"actions": _whose()}],
        },
    }


def _whose() -> list[Message]:
    """Whose call it is, in tenancy's words. Administrators have no tenant, operators no organisation either."""
    said = [
        {
            "metadata": {
                "descriptor_key": name,
                "metadata_key": {"key": AUTHORIZATION, "path": [{"key": name}]},
                "skip_if_absent": True,
            }
        }
        for name in (envoy.ORGANISATION, envoy.TENANT)
    ]
    return [{"generic_key": {"descriptor_value": "call"}}, *said]


def _health(path: str, cluster: str, bounds: Bounds) -> Message:
    open_to_all = typed("", "filters.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True)["typed_config"]
    small = typed("", "filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": bounds.question_bytes})
    return {
        "name": path,
        "match": {"path": path, "grpc": {}},
        "route": {
            "cluster": cluster,
            "timeout": seconds(0),
            "max_stream_duration": {"max_stream_duration": seconds(0)},
        },
        "typed_per_filter_config": {AUTHORIZATION: open_to_all, SMALL: small["typed_config"]},
    }
