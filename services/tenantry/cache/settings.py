"""What the environment sets for cache."""

from dataclasses import dataclass, field
from pathlib import Path

from tenantry.cache.entry import Terms
from tenantry.kit import settings as mesh


@dataclass(frozen=True, slots=True)
class Settings:
    """`cache_url` is the Redis of the answers; `key_file` the secret of scopes and entries, made if it is missing. With
    another secret nothing that is stored is found."""

    cache_url: str
    key_file: Path
    terms: Terms = field(default_factory=Terms)


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(mesh.cache_url(), mesh.secret_file("cache.key"))
