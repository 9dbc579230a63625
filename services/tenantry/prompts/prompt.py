"""What a prompt is: values without behaviour, in the words of the contract."""

from dataclasses import dataclass, replace

from tenantry.kit.owner import Tenant


@dataclass(frozen=True, slots=True)
class Source:
    """What an author writes: two templates, a JSON Schema as text ("" for free text), and decoding parameters."""

    system: str
    user: str
    output_schema: str = ""
    max_output_tokens: int = 0
    temperature: float | None = None

    def with_output_tokens(self, tokens: int) -> "Source":
        """The same with another ceiling of tokens."""
        return replace(self, max_output_tokens=tokens)


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the source. `created_at` is Unix seconds."""

    revision: int
    source: Source
    created_at: float
    author: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A name and where its alias `production` points. `version` counts changes; `updated_at` is Unix seconds."""

    prompt: str
    production_revision: int
    latest_revision: int
    version: int
    updated_at: float


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered revision."""

    prompt: str
    revision: int
    system: str
    user: str
    source: Source


def key_of(tenant: Tenant, prompt: str) -> str:
    """A prompt's key in the change log and in memories: neither part can hold a slash."""
    return f"{tenant.id}/{prompt}"


# Every tenant has it from its onboarding on; its admin may change it.
DEFAULT_PROMPT = "answer"
DEFAULT_SOURCE = Source(
    system=(
        "You answer questions for one company from its own documents. Use only the numbered passages you are given, "
        "cite them like [1], and say so in one sentence when they do not hold the answer."
    ),
    user="{{ question }}",
)
