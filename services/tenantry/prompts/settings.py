"""What the environment sets for prompts."""

from dataclasses import dataclass

from tenantry.kit import settings as mesh


@dataclass(frozen=True, slots=True)
class Settings:
    """`sql_url` is where prompts are kept; `remembered` is how many prompts the request path keeps in memory."""

    sql_url: str
    remembered: int = 4096


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(sql_url=mesh.sql_url("prompts"))
