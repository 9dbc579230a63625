"""What the gateway asks of the other services, in its own words. Every method is about the caller's own tenant."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tenantry.gateway.citations import Citation, Passage
from tenantry.gateway.query import Query

Outcome = Literal["ok", "cancelled", "failed", "deadline"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered prompt."""

    prompt: str
    revision: int
    system: str
    user: str
    output_schema: str
    max_output_tokens: int
    temperature: float | None


@dataclass(frozen=True, slots=True)
class Model:
    """The model that was chosen, and what to try next. Prices are micro-dollars for a million tokens; `provider_model` is the
    provider's own name for it."""

    model: str
    provider: str
    revision: str
    input_price_micros: int
    output_price_micros: int
    max_output_tokens: int
    fallbacks: tuple["Model", ...] = ()
    provider_model: str = ""


@dataclass(frozen=True, slots=True)
class Epoch:
    """The documents' epoch; while they are `changing`, nothing is served from or stored in the cache.

    `embedder` is by whose vectors they are searched.
    """

    number: int
    changing: bool
    embedder: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is known before anything is held: what is asked, rendered, of which model, from which documents."""

    query: Query
    rendered: Rendered
    model: Model
    epoch: Epoch

    @property
    def max_output_tokens(self) -> int:
        """The ceiling of the answer."""
        wanted = self.query.max_output_tokens or self.rendered.max_output_tokens
        return min(wanted, self.model.max_output_tokens) if self.model.max_output_tokens else wanted

    @property
    def temperature(self) -> float | None:
        """The temperature of the query, else the prompt's."""
        return self.rendered.temperature if self.query.temperature is None else self.query.temperature


@dataclass(slots=True)
class Use:
    """What a request used, until it is settled."""

    provider: str = ""
    model: str = ""
    model_revision: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    cached_input_tokens: int = 0
    counts_estimated: bool = False
    cache_hit: bool = False
    outcome: Outcome = "ok"
    latency_s: float = 0.0
    first_token_s: float | None = None
    prompt: str = ""
    prompt_revision: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, as it is cached."""

    text: str
    citations: tuple[Citation, ...]
    provider: str
    model: str
    model_revision: str
    input_tokens: int
    output_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Hit:
    """The cache knows the answer."""

    answer: Answer
    epoch: int


@dataclass(frozen=True, slots=True)
class Lead:
    """This request makes the answer, for all who wait for it. `handle` is empty when there is no cache."""

    handle: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Another request makes the answer."""

    handle: str


Found = Hit | Lead | Wait


@dataclass(frozen=True, slots=True)
class Waiting:
    """The model has no place for the call yet: which of the tenant's it is, 1 is the next, and how long that may take (0:
    nobody knows). Place 0 says that it has one now, and that the provider is asked."""

    place: int
    expected_s: float


@dataclass(frozen=True, slots=True)
class End:
    """How a model's answer ended."""

    provider: str
    model: str
    model_revision: str
    input_tokens: int
    output_tokens: int
    cost_micros: int
    finish_reason: str
    cached_input_tokens: int = 0
    counts_estimated: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model is given. `turns` are the messages after the user's first: an answer and what was wrong with it."""

    plan: Plan
    passages: Sequence[Passage]
    receipt: Any
    streamed: bool
    turns: tuple[tuple[Literal["assistant", "user"], str], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Reserved:
    """A receipt, which only the peers understand, and for how much output it holds."""

    receipt: Any
    output_tokens: int


class Peers(Protocol):
    """The other services."""

    async def render(self, query: Query) -> Rendered: ...
    async def select_model(self, model: str) -> Model: ...
    async def documents_epoch(self) -> Epoch: ...
    async def search(self, query: Query) -> list[Passage]: ...

    async def reserve(self, plan: Plan, nonce: str, input_tokens: int) -> Reserved:
        """Hold what the plan may use."""
        ...

    async def renew(self, receipt: Any, output_tokens: int) -> int:
        """Keep the hold, of whose answer so much is written: how much output it is for now."""
        ...

    async def commit(self, receipt: Any, use: Use) -> None: ...
    async def release(self, receipt: Any) -> None: ...

    async def look_up(self, plan: Plan) -> Found: ...
    async def wait_for(self, plan: Plan, handle: str) -> Found: ...
    async def renew_flight(self, plan: Plan, handle: str) -> None: ...
    async def store(self, plan: Plan, handle: str, answer: Answer) -> None: ...

    async def abandon(self, plan: Plan, handle: str, *, keep_if_awaited: bool) -> bool:
        """Whether the flight ended; False when it was kept since somebody waits."""
        ...

    def generate(self, generation: Generation) -> AsyncGenerator[str | Waiting | Model | End]:
        """The pieces of the answer, before them the model if another than the chosen one begins it; then its end."""
        ...
