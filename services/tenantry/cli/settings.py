"""What the environment sets for the command."""

import os
import sys
from pathlib import Path

from tenantry.kit import settings as mesh


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


def names_redis(role: str) -> bool:
    """Whether TENANTRY_BOOKS_URL or TENANTRY_CACHE_URL is set, so that a server that runs there is the one that is meant."""
    return bool(os.environ.get(f"TENANTRY_{role.upper()}_URL"))


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child process: this one's, and `more`. Buffered lines of a log would come late."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **more}


def python() -> str:
    """This interpreter."""
    return sys.executable
