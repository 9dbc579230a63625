"""What Envoy's configuration hangs on, and the bounds that it holds to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# As kit's own edge has them, where that has them.
CALLS_A_SERVICE = 4096
WATCHERS = 256
METADATA_KB = 16
LONGEST_S = 600
# Of Envoy alone.
CONNECTIONS = 4096
STREAMS_A_CONNECTION = 1000
STREAMS_TO_A_SERVICE_S_CONNECTION = 100
BUFFER_BYTES = 1024 * 1024
# A message of JSON is read whole before it becomes one of gRPC, which has at most 4 MB.
JSON_BYTES = 4 * 1024 * 1024
# A question of a stranger's about the health.
QUESTION_BYTES = 4096
HEADERS = 100
HEADERS_S = 10
# Strangers may hold connections that nothing is asked on; gRPC clients make new ones when they need them.
IDLE_CONNECTION_S = 120
HANDSHAKE_S = 10
# How long the services that Envoy asks may take; a request waits for them.
ANSWER_S = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen` takes gRPC, `http_listen` JSON; `certificate` is a chain and its key as PEM files, None for no TLS.

    `addresses` are the services' own, `token` the file with Envoy's service token, `folder` gets what is made for Envoy.
    With `tls`, the folder of the mesh's certificates, Envoy shows its own to services, and no token.
    """

    listen: str
    http_listen: str
    addresses: Mapping[str, str]
    token: Path
    folder: Path
    certificate: tuple[Path, Path] | None = None
    tls: Path | None = None
    envoy: str = field(default="envoy")

    @property
    def configuration(self) -> Path:
        """The configuration, as Envoy reads it."""
        return self.folder / "envoy.yaml"

    @property
    def descriptors(self) -> Path:
        """The contracts, for making gRPC of JSON."""
        return self.folder / "contracts.binpb"

    @property
    def identity(self) -> Path:
        """Envoy's service token in the form that Envoy watches."""
        return self.folder / "identity.yaml"

    @property
    def admin(self) -> Path:
        """The socket of Envoy's admin interface."""
        return self.folder / "admin.sock"
