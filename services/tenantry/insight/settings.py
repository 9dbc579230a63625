"""What the environment sets for insight."""

from dataclasses import dataclass, field

from tenantry.insight.spans import Bounds
from tenantry.kit import settings as mesh


@dataclass(frozen=True, slots=True)
class Settings:
    """`sql_url` is where the ledger and the traces are kept; `bounds` is how many spans, and for how long."""

    sql_url: str
    bounds: Bounds = field(default_factory=Bounds)


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(sql_url=mesh.sql_url("insight"))
