"""What the environment sets for the gateway."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds: how often holds and flights are renewed, and how long settling may take after an answer."""

    renew_every_s: float = 5.0
    settle_within_s: float = 15.0


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings()
