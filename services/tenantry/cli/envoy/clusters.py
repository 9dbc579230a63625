"""The services as Envoy sees them: where they are, whether they are healthy, and how much each may be asked at once."""

from collections.abc import Sequence

from tenantry.cli.envoy.proto import Message, address, seconds, typed
from tenantry.cli.envoy.settings import Settings
from tenantry.cli.envoy.upstream_tls import transport
from tenantry.kit import call

HEALTH, WATCHED_HEALTH = "health", "watched-health"
# Tenancy and quota when Envoy itself asks them. Only then the question carries Envoy's service token.
ASK_TENANCY, ASK_QUOTA = "ask-tenancy", "ask-quota"
_IDENTITY = "identity"
_HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(settings: Settings) -> list[Message]:
    """A cluster a service, and two for strangers who ask for the health: who watches takes no place of who asks, or calls."""
    bounds = settings.bounds
    services = [_cluster(settings, name, name, bounds.calls_a_service) for name in settings.addresses]
    token = _identity(settings) if settings.tls is None else []
    asked = [
        _cluster(settings, name, service, bounds.calls_a_service, token)
        for name, service in ((ASK_TENANCY, "tenancy"), (ASK_QUOTA, "quota"))
    ]
    health = [_cluster(settings, name, "gateway", bounds.watchers) for name in (HEALTH, WATCHED_HEALTH)]
    return [*services, *asked, *health]


def secret(token: str) -> Message:
    """What stands in the file that Envoy watches: its service token."""
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [{"@type": kind, "name": _IDENTITY, "generic_secret": {"secret": {"inline_string": token}}}]}


def _identity(settings: Settings) -> list[Message]:
    """Filters that put the service token on each request to a cluster. Envoy takes it anew whenever the file is replaced."""
    source = {"path_config_source": {"path": str(settings.identity)}, "resource_api_version": "V3"}
    token = typed(
        "envoy.http.injected_credentials.generic",
        "http.injected_credentials.generic.v3.Generic",
        credential={"name": _IDENTITY, "sds_config": source},
        header=call.SERVICE,
    )
    return [
        typed(
            "envoy.filters.http.credential_injector",
            "filters.http.credential_injector.v3.CredentialInjector",
            overwrite=True,
            credential=token,
        ),
        typed("envoy.filters.http.upstream_codec", "filters.http.upstream_codec.v3.UpstreamCodec"),
    ]


def _cluster(
    settings: Settings, name: str, service: str, at_once: int, upstream_filters: Sequence[Message] = ()
) -> Message:
    where = settings.addresses[service]
    return {
        "name": name,
        **({"transport_socket": transport(service, settings.folder)} if settings.tls is not None else {}),
        "type": "STRICT_DNS",
        "connect_timeout": seconds(1),
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(where)}}]}],
        },
        "typed_extension_protocol_options": {
            _HTTP2: {
                "@type": f"type.googleapis.com/{_HTTP2}",
                **({"http_filters": list(upstream_filters)} if upstream_filters else {}),
                "explicit_http_config": {
                    "http2_protocol_options": {
                        # Full connections make new ones, which reach other workers behind the same port.
                        "max_concurrent_streams": settings.bounds.streams_to_a_services_connection,
                        "connection_keepalive": {"interval": seconds(30), "timeout": seconds(10)},
                    }
                },
            }
        },
        "circuit_breakers": {
            "thresholds": [{"max_connections": 256, "max_pending_requests": at_once, "max_requests": at_once}]
        },
        # A service that stops says NOT_SERVING; one that is away is refused at once, not after each caller's wait.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": seconds(2),
                "interval": seconds(1),
                "no_traffic_interval": seconds(1),
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": service},
            }
        ],
        # Only what the connection tells: a service's UNAVAILABLE may be one tenant's provider, and would shut out all others.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 5,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": seconds(1),
            "base_ejection_time": seconds(1),
            "max_ejection_time": seconds(5),
        },
    }
