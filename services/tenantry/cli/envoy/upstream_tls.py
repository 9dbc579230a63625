"""Envoy's own certificate in a mesh that has TLS: what it shows to services, and whom it takes for one."""

from pathlib import Path

from tenantry.cli.envoy.proto import Message, typed
from tenantry.kit.access import EDGE
from tenantry.kit.certificate import AUTHORITIES
from tenantry.kit.peer import host_name, spiffe_id

CERTIFICATE, TRUSTED = "certificate", "authorities"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a name, no secret


def transport(service: str, folder: Path) -> Message:
    """How a cluster speaks to its service; `folder` is where the files of `watched` are."""
    return typed(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        sni=host_name(service),
        common_tls_context={
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_source(CERTIFICATE, folder)],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"exact": spiffe_id(service)}},
                    ]
                },
                "validation_context_sds_secret_config": _source(TRUSTED, folder),
            },
        },
    )


def watched(certificates: Path) -> dict[str, Message]:
    """What stands in the files that Envoy watches, by name: where the certificates are, which it reads anew when any file
    there is replaced."""
    folder = {"path": str(certificates)}
    own = {
        "certificate_chain": {"filename": str(certificates / f"{EDGE}.pem")},
        "private_key": {"filename": str(certificates / f"{EDGE}.key")},
        "watched_directory": folder,
    }
    trusted = {"trusted_ca": {"filename": str(certificates / AUTHORITIES)}, "watched_directory": folder}
    return {
        name: {"resources": [{"@type": _SECRET, "name": name, kind: what}]}
        for name, kind, what in ((CERTIFICATE, "tls_certificate", own), (TRUSTED, "validation_context", trusted))
    }


def _source(name: str, folder: Path) -> Message:
    source = {"path_config_source": {"path": str(folder / f"{name}.yaml")}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}
