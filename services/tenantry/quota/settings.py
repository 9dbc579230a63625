"""What the environment sets for quota."""

from dataclasses import dataclass, field
from pathlib import Path

from tenantry.kit import settings as mesh
from tenantry.kit.errors import InvalidArgument
from tenantry.quota.holds import Terms
from tenantry.quota.presence import StandbyTerms
from tenantry.quota.slot import QueueTerms

_MOST_REPLICAS = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """`books_url` is the Redis of counters and holds, `sql_url` where limits are kept, `key_file` the secret that
    signs receipts, made if it is missing. `remembered` is how many tenants' limits the request path keeps, `remembered_pools`
    how many pools' settings. `standby` says by how many processes limits are shared while the books are away, and for how
    long."""

    books_url: str
    sql_url: str
    key_file: Path
    remembered: int = 16_384
    terms: Terms = field(default_factory=Terms)
    standby: StandbyTerms = field(default_factory=StandbyTerms)
    remembered_pools: int = 1_024
    queue_terms: QueueTerms = field(default_factory=QueueTerms)


def from_environment() -> Settings:
    """The settings of this process. TENANTRY_QUOTA_REPLICAS: how many processes serve quota, workers counted;
    TENANTRY_QUOTA_STANDBY_S: for how many seconds they may go on without the books."""
    replicas = mesh.number("TENANTRY_QUOTA_REPLICAS", 1)
    if not 1 <= replicas <= _MOST_REPLICAS or replicas != int(replicas):
        raise InvalidArgument("TENANTRY_QUOTA_REPLICAS", f"is no whole number from 1 to {_MOST_REPLICAS}; correct it")
    standby_s = mesh.number("TENANTRY_QUOTA_STANDBY_S", StandbyTerms().most_s)
    if standby_s < 0:
        raise InvalidArgument("TENANTRY_QUOTA_STANDBY_S", "is below 0; 0 admits nothing without the books")
    standby = StandbyTerms(int(replicas), standby_s)
    books, sql, key = mesh.books_url(), mesh.sql_url("quota"), mesh.secret_file("quota.key")
    return Settings(books, sql, key, standby=standby)
