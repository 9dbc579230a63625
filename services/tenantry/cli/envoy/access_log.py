"""A line a request: whose, which RPC, how it ended and how long it took. No header, message or path of a client's own."""

from tenantry.cli.envoy.proto import Message, typed
from tenantry.cli.envoy.routes import AUTHORIZATION, REQUEST_ID
from tenantry.kit import envoy


def access_log() -> Message:
    """JSON lines on standard output. `rpc` is a route's name, so a path that is none of ours is not written down."""
    fields = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "rpc": "%ROUTE_NAME%",
        "request_id": REQUEST_ID,
        "tenant": f"%DYNAMIC_METADATA({AUTHORIZATION}:{envoy.TENANT})%",
        "tier": f"%DYNAMIC_METADATA({AUTHORIZATION}:{envoy.TIER})%",
        "grpc_status": "%GRPC_STATUS(SNAKE_STRING)%",
        "http_status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "service_ms": "%RESPONSE_DURATION%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    return typed(
        "envoy.access_loggers.stdout",
        "access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": fields, "omit_empty_values": True},
    )
