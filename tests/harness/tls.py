"""Certificates for tests: a CA of the test's own, its folder as TENANTRY_TLS names one, and clients that show what they like."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from tenantry.cli.development_ca import DevelopmentCa
from tenantry.kit.certificate import AUTHORITIES, Certificate
from tenantry.kit.peer import host_name, spiffe_id
from tenantry.kit.private_file import write_private


class Certificates:
    """A folder with a CA and certificates of it."""

    def __init__(self, folder: Path, names: Sequence[str] = (), *, ca: DevelopmentCa | None = None) -> None:
        self.folder = folder
        self.ca = ca or DevelopmentCa.made()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / AUTHORITIES).write_bytes(self.ca.certificate)
        for name in names:
            self.put(name)

    def made(self, name: str, *, uri: str | None = None, ends: datetime | None = None) -> Certificate:
        """A certificate in nobody's folder."""
        chain, key = self.ca.issue(spiffe_id(name) if uri is None else uri, host_name(name), ends)
        return Certificate(chain, key, self.ca.certificate)

    def put(self, name: str) -> Certificate:
        """A new certificate of a service in the folder, in place of the one that was there."""
        made = self.made(name)
        write_private(self.folder / f"{name}.key", made.key, replace=True)
        write_private(self.folder / f"{name}.pem", made.chain, replace=True)
        return made


def long_ago() -> datetime:
    """When a certificate ended that has ended."""
    return datetime.fromtimestamp(1_700_000_000, UTC)


def credentials(shown: Certificate, *, authorities: bytes = b"", nameless: bool = False) -> grpc.ChannelCredentials:
    """Of a client that shows the certificate, or, `nameless`, none; it believes `authorities`, else its own CA."""
    own = (None, None) if nameless else (shown.key, shown.chain)
    return grpc.ssl_channel_credentials(authorities or shown.authorities, *own)


def _options(host: str) -> list[tuple[str, Any]]:
    return [("grpc.ssl_target_name_override", host_name(host)), ("grpc.use_local_subchannel_pool", 1)]


def channel(address: str, host: str, shown: Certificate, **how: Any) -> grpc.Channel:
    """A blocking channel to a service, which adds nothing to a call."""
    return grpc.secure_channel(address, credentials(shown, **how), _options(host))


def aio_channel(address: str, host: str, shown: Certificate, **how: Any) -> aio.Channel:
    """The same for a test with a loop."""
    return aio.secure_channel(address, credentials(shown, **how), _options(host))
