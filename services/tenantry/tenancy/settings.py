"""What the environment sets for tenancy."""

from dataclasses import dataclass
from pathlib import Path

from tenantry.kit import settings as mesh


@dataclass(frozen=True, slots=True)
class Settings:
    """`sql_url` is where all is kept; `secret` the file that API keys and signing keys hang on.

    `tokens` is the folder of service tokens and `operator_key` the file of the first operator's key, both written by
    `initialise` alone.
    """

    sql_url: str
    secret: Path
    tokens: Path
    operator_key: Path


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(
        sql_url=mesh.sql_url("tenancy"),
        secret=mesh.secret_file("tenancy.key"),
        tokens=mesh.mesh_settings("tenancy").tokens,
        operator_key=mesh.secret_file("operator.key"),
    )
