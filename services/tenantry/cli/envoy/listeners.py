"""Where clients come in."""

from tenantry.cli.envoy.access_log import access_log
from tenantry.cli.envoy.filters import early_mutation, filters
from tenantry.cli.envoy.proto import Message, address, seconds, typed
from tenantry.cli.envoy.refusals import refusals
from tenantry.cli.envoy.routes import routes
from tenantry.cli.envoy.settings import Settings
from tenantry.cli.envoy.transcoding import transcoder

# What the transcoder makes of a service's refusal, without the details, which stand in the header `grpc-status-details-bin`.
_JSON_REFUSAL: Message = {"json_format": {"code": "%GRPC_STATUS_NUMBER%", "message": "%LOCAL_REPLY_BODY%"}}


def grpc_listener(settings: Settings) -> Message:
    """gRPC, by HTTP/2 alone."""
    return _listener("grpc", settings.listen, settings, filters(settings.bounds))


def http_listener(settings: Settings) -> Message:
    """JSON by HTTP/1.1 or HTTP/2, made gRPC before anything else looks at it."""
    return _listener("http", settings.http_listen, settings, [transcoder(settings), *filters(settings.bounds)])


def _listener(name: str, where: str, settings: Settings, http_filters: list[Message]) -> Message:
    chain: Message = {
        "filters": [_connections(name, settings, http_filters)],
        "transport_socket_connect_timeout": seconds(settings.bounds.handshake_s),
    }
    if settings.certificate is not None:
        chain["transport_socket"] = _tls(*settings.certificate, ["h2"] if name == "grpc" else ["h2", "http/1.1"])
    return {
        "name": name,
        "address": address(where),
        "per_connection_buffer_limit_bytes": settings.bounds.buffer_bytes,
        "filter_chains": [chain],
    }


def _connections(name: str, settings: Settings, http_filters: list[Message]) -> Message:
    bounds = settings.bounds
    return typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="HTTP2" if name == "grpc" else "AUTO",
        # Whoever comes is a stranger, whatever he says of himself.
        use_remote_address=True,
        # A path is an RPC's or it is none: nothing is made of it, so nothing can be made to look like one.
        path_with_escaped_slashes_action="REJECT_REQUEST",
        common_http_protocol_options={
            "idle_timeout": seconds(bounds.idle_connection_s),
            # Here, and not at the routes: there Envoy would tell the service this time in place of the client's own deadline.
            "max_stream_duration": seconds(bounds.longest_s + bounds.late_s),
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": bounds.headers,
        },
        http2_protocol_options={
            "max_concurrent_streams": bounds.streams_a_connection,
            "initial_stream_window_size": 256 * 1024,
            "initial_connection_window_size": bounds.buffer_bytes,
            "connection_keepalive": {"interval": seconds(30), "timeout": seconds(10)},
        },
        max_request_headers_kb=bounds.metadata_kb,
        request_headers_timeout=seconds(bounds.headers_s),
        stream_idle_timeout=seconds(bounds.longest_s),
        drain_timeout=seconds(5),
        early_header_mutation_extensions=[early_mutation()],
        route_config=routes(settings.bounds, grpc=name == "grpc"),
        http_filters=http_filters,
        local_reply_config=refusals(settings) | ({} if name == "grpc" else {"body_format": _JSON_REFUSAL}),
        access_log=[access_log()],
    )


def _tls(chain: object, key: object, protocols: list[str]) -> Message:
    certificate = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    return typed(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [certificate],
            "alpn_protocols": protocols,
        },
    )
