"""What the environment sets for every process of the mesh. Read once, at start."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tenantry.kit.errors import InvalidArgument

# gRPC's core writes what it thinks of connections between the log's JSON lines: errors only, unless somebody asks for more.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

SERVICES = ("tenancy", "quota", "retrieval", "cache", "prompts", "models", "insight", "gateway")
# The outside address is 7700; the services' own follow in the order above.
_FIRST_PORT = 7700


def state_directory() -> Path:
    """TENANTRY_STATE: where files are kept: SQLite, documents, secrets, tokens, valkey."""
    return Path(os.environ.get("TENANTRY_STATE", ".tenantry")).absolute()


def sql_url(service: str) -> str:
    """TENANTRY_SQL_URL: a PostgreSQL address for all services, each in a schema of its own; else a SQLite file each."""
    shared = os.environ.get("TENANTRY_SQL_URL", "")
    return shared or f"sqlite+aiosqlite:///{state_directory() / 'sql' / f'{service}.db'}"


def books_url() -> str:
    """TENANTRY_BOOKS_URL: the Redis of limits, holds and usage on its way to the ledger."""
    return os.environ.get("TENANTRY_BOOKS_URL", "redis://127.0.0.1:7711/0")


def cache_url() -> str:
    """TENANTRY_CACHE_URL: the Redis of cached answers."""
    return os.environ.get("TENANTRY_CACHE_URL", "redis://127.0.0.1:7712/0")


def secret_file(name: str) -> Path:
    """TENANTRY_SECRETS: the folder of secret files, `secrets` in the state directory unless set."""
    return Path(os.environ.get("TENANTRY_SECRETS", str(state_directory() / "secrets"))) / name


def number(name: str, default: float) -> float:
    """The number that the variable is set to. InvalidArgument names the variable if it is none."""
    try:
        found = float(os.environ.get(name, "") or default)
        if not math.isfinite(found):
            raise ValueError
        return found
    except ValueError:
        raise InvalidArgument(name, "is not a number; correct it, or leave it unset") from None


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """How one process stands in the mesh.

    `addresses` are where the services that this process does not host are reached; `listen` is this process's own
    address for the mesh, `edge_listen` the one for clients, used by the process that hosts the gateway.
    `trace_ratio` is the share of requests traced, 0 to 1; `otlp_endpoint`, `host:port`, gets spans beside insight,
    and `otlp_metrics_endpoint` metrics.
    With `shared_port` several worker processes listen on the same addresses. `tls` is the folder of certificates; with it
    services believe certificates, not tokens, and take no plaintext connection.
    """

    listen: str
    edge_listen: str
    addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    tokens: Path = Path(".tenantry/tokens")
    trace_ratio: float = 1.0
    otlp_endpoint: str = ""
    otlp_metrics_endpoint: str = ""
    log_level: str = "INFO"
    max_concurrent_calls: int = 4096
    max_tenant_calls: int = 1024
    max_message_bytes: int = 4 * 1024 * 1024
    drain_s: float = 10.0
    shared_port: bool = False
    tls: Path | None = None


def mesh_settings(first: str) -> MeshSettings:
    """The settings of a process whose first hosted service is `first`."""
    environ = os.environ
    ports = {service: f"127.0.0.1:{_FIRST_PORT + place}" for place, service in enumerate(SERVICES, start=1)}
    addresses = {name: environ.get(f"TENANTRY_{name.upper()}_ADDRESS", default) for name, default in ports.items()}
    return MeshSettings(
        listen=environ.get("TENANTRY_LISTEN", addresses[first]),
        edge_listen=environ.get("TENANTRY_EDGE_LISTEN", f"127.0.0.1:{_FIRST_PORT}"),
        addresses=addresses,
        tokens=Path(environ.get("TENANTRY_TOKENS", str(state_directory() / "tokens"))),
        trace_ratio=number("TENANTRY_TRACE_RATIO", 1),
        otlp_endpoint=environ.get("TENANTRY_OTLP_ENDPOINT", ""),
        otlp_metrics_endpoint=environ.get("TENANTRY_OTLP_METRICS_ENDPOINT", ""),
        log_level=environ.get("TENANTRY_LOG_LEVEL", "INFO"),
        max_concurrent_calls=int(number("TENANTRY_MAX_CONCURRENT_CALLS", 4096)),
        shared_port=environ.get("TENANTRY_SHARED_PORT", "") == "1",
        tls=Path(environ["TENANTRY_TLS"]).absolute() if environ.get("TENANTRY_TLS") else None,
    )
