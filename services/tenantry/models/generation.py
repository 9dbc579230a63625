"""What a provider is asked and what comes back: the values, and the one Protocol that every provider meets."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tenantry.models.model import Provider


class Role(StrEnum):
    """Whose turn a message is."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Finish(StrEnum):
    """Why an answer ended."""

    UNKNOWN = "unknown"
    STOP = "stop"
    LENGTH = "length"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message."""

    role: Role
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that the answer may use and cite by its number."""

    number: int
    title: str = field(repr=False)
    heading: str = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """What the model is given. `question` is in the user's own words; `output_schema` is JSON text, "" for free text. Of one
    tenant's calls that wait for the model those of a higher `priority` go first."""

    turns: Sequence[Turn]
    max_output_tokens: int
    passages: Sequence[Passage] = ()
    question: str = field(default="", repr=False)
    output_schema: str = field(default="", repr=False)
    temperature: float | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a provider finds the model, and the credential that it is shown. An empty `base_url` is the provider's own."""

    provider: Provider
    provider_model: str
    base_url: str = ""
    credential: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Counts:
    """What the provider has counted so far, None for what it has not told. The cached are among the input tokens."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a complete answer."""

    counts: Counts
    finish: Finish
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How the answer ended, as it is settled."""

    provider: str
    model: str
    model_revision: str
    input_tokens: int
    output_tokens: int
    cost_micros: int
    finish: Finish
    estimated: bool
    cached_input_tokens: int = 0


# Deltas of the answer, the provider's counts whenever it tells them, and one Ended.
Piece = str | Counts | Ended


class AnswerProvider(Protocol):
    """Calls one kind of API. With `stream` the answer comes in deltas, else in one."""

    def generate(self, target: Target, ask: Ask, *, stream: bool, connect_s: float) -> AsyncGenerator[Piece, None]:
        """The answer, then Ended. Raises what `faults` makes; ends its connection when it is closed early."""
        ...
