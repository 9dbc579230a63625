"""What the environment sets for models."""

import os
from dataclasses import dataclass
from pathlib import Path

from tenantry.kit import settings as mesh


@dataclass(frozen=True, slots=True)
class Settings:
    """`sql_url` is where models are kept, `key_file` the secret that seals credentials, made if it is missing.

    `loopback` allows providers on this machine over http. `remembered` is how many tenants the request path keeps in
    memory, `clients` how many clients of providers are kept open.
    """

    sql_url: str
    key_file: Path
    loopback: bool = False
    remembered: int = 4096
    clients: int = 256


def from_environment() -> Settings:
    """The settings of this process. TENANTRY_MODELS_LOOPBACK=1: providers on this machine over http."""
    loopback = os.environ.get("TENANTRY_MODELS_LOOPBACK", "") == "1"
    return Settings(mesh.sql_url("models"), mesh.secret_file("models.key"), loopback)
