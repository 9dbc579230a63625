"""What the environment sets for quota."""

from dataclasses import dataclass, field
from pathlib import Path

from tenantry.kit import settings as mesh
from tenantry.quota.holds import Terms
from tenantry.quota.slot import QueueTerms


@dataclass(frozen=True, slots=True)
class Settings:
    """`books_url` is the Redis of counters and holds, `sql_url` where limits are kept, `key_file` the secret that
    signs receipts, made if it is missing. `remembered` is how many tenants' limits the request path keeps, `remembered_pools` how
    many pools' settings."""

    books_url: str
    sql_url: str
    key_file: Path
    remembered: int = 16_384
    terms: Terms = field(default_factory=Terms)
    remembered_pools: int = 1_024
    queue_terms: QueueTerms = field(default_factory=QueueTerms)


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(mesh.books_url(), mesh.sql_url("quota"), mesh.secret_file("quota.key"))
