"""What Envoy's configuration hangs on, and the bounds that it holds to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much Envoy takes, and how long it waits: times in seconds. The first four are those of kit's own edge."""

    calls_a_service: int = 4096
    watchers: int = 256
    metadata_kb: int = 16
    longest_s: int = 600
    # A service ends a call by the longest time, and says so; this much later Envoy ends one of a service that does not.
    late_s: int = 10
    connections: int = 4096
    streams_a_connection: int = 1000
    streams_to_a_services_connection: int = 100
    buffer_bytes: int = 1024 * 1024
    # A message of JSON is read whole before it becomes one of gRPC, which has at most 4 MB.
    json_bytes: int = 4 * 1024 * 1024
    # A question of a stranger's about the health.
    question_bytes: int = 4096
    headers: int = 100
    headers_s: int = 10
    # Strangers may hold connections that nothing is asked on; gRPC clients make new ones when they need them.
    idle_connection_s: int = 120
    handshake_s: int = 10
    # How long the services that Envoy asks may take; a request waits for them.
    answer_s: int = 5


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
    envoy: str = "envoy"
    bounds: Bounds = field(default_factory=Bounds)

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
