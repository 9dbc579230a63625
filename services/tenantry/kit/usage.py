"""What one request used, as quota settles it and the ledger keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """The value of common/v1/usage.proto; times in nanoseconds, `first_token_ns` None when there was no answer."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    provider: str = ""
    model: str = ""
    model_revision: str = ""
    latency_ns: int = 0
    outcome: int = 0
    cache_hit: bool = False
    request_id: str = ""
    prompt: str = ""
    prompt_revision: int = 0
    first_token_ns: int | None = None
    cached_input_tokens: int = 0
    counts_estimated: bool = False

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens
