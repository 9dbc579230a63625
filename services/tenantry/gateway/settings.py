"""What the environment sets for the gateway."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds: how often holds and flights are renewed; for how long settling is tried after an answer, while
    quota is away; and for how long a process that ends waits for that. `tokenizers` is the folder of vocabularies to count
    tokens with."""

    renew_every_s: float = 5.0
    settle_within_s: float = 120.0
    drain_within_s: float = 5.0
    tokenizers: Path | None = None


def from_environment() -> Settings:
    """The settings of this process. TENANTRY_TOKENIZERS: the folder of vocabularies; unset, tokens are estimated."""
    folder = os.environ.get("TENANTRY_TOKENIZERS", "")
    return Settings(tokenizers=Path(folder) if folder else None)
