"""What the environment sets for tenancy."""

import os
from dataclasses import dataclass
from pathlib import Path

from tenantry.kit import settings as mesh


@dataclass(frozen=True, slots=True)
class Settings:
    """`sql_url` is where all is kept; `secret` the file that API keys and signing keys hang on.

    `loopback_issuers` allows OIDC issuers on this machine over http.

    `tokens` is the folder of service tokens and `operator_key` the file of the first operator's key, both written by
    `initialise` alone.
    """

    sql_url: str
    secret: Path
    tokens: Path
    operator_key: Path
    loopback_issuers: bool = False


def from_environment() -> Settings:
    """The settings of this process. TENANTRY_ISSUERS_LOOPBACK=1: OIDC issuers on this machine over http."""
    return Settings(
        sql_url=mesh.sql_url("tenancy"),
        secret=mesh.secret_file("tenancy.key"),
        tokens=mesh.mesh_settings("tenancy").tokens,
        operator_key=mesh.secret_file("operator.key"),
        loopback_issuers=os.environ.get("TENANTRY_ISSUERS_LOOPBACK", "") == "1",
    )
