"""What the environment sets for the gateway."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds: how often holds and flights are renewed; for how long settling is tried after an answer, while
    quota is away; and for how long a process that ends waits for that."""

    renew_every_s: float = 5.0
    settle_within_s: float = 120.0
    drain_within_s: float = 5.0


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings()
