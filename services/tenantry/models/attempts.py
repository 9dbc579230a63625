"""One attempt at one provider: its circuit, its time limits, its span, and the count of what it used."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, TenantryError, Unavailable
from tenantry.models import faults
from tenantry.models.attempt_span import attempt
from tenantry.models.breaker import Circuits
from tenantry.models.generation import AnswerProvider, Ask, Counts, Ended, Piece, Result, Target
from tenantry.models.limits import Limits
from tenantry.models.model import Model, Provider
from tenantry.models.prices import cost_micros, estimated_tokens

# A caller with little time must not make a slow model look broken to all others.
_PATIENCE_S = 10.0
# No tokenizer's tokens are longer on the average: a provider that sends more ignores `max_output_tokens`.
_MOST_BYTES_A_TOKEN = 64
_BYTES_A_TOKEN = 4
_NOT_TOLD = Counts()


@dataclass(slots=True)
class Tally:
    """What an attempt has used so far: as the provider told, else estimated. `hurried` when it was given little time."""

    asked_tokens: int
    counts: Counts = _NOT_TOLD
    written_bytes: int = 0
    hurried: bool = False

    @property
    def input_tokens(self) -> int:
        return self.asked_tokens if self.counts.input_tokens is None else self.counts.input_tokens

    @property
    def cached_input_tokens(self) -> int:
        return min(self.counts.cached_input_tokens, self.input_tokens)

    @property
    def output_tokens(self) -> int:
        told = self.counts.output_tokens
        return -(-self.written_bytes // _BYTES_A_TOKEN) if told is None else told


class Attempts:
    """Makes attempts. `circuits` are shared by all calls of this replica."""

    def __init__(self, providers: Mapping[Provider, AnswerProvider], circuits: Circuits, clock: Clock) -> None:
        self._providers = providers
        self._circuits = circuits
        self._clock = clock

    async def make(
        self, model: Model, target: Target, payer: str, ask: Ask, limits: Limits, *, stream: bool
    ) -> AsyncGenerator[str | Result, None]:
        """Deltas and then the result; an error after the first delta says in its metadata what was used.

        `payer` is whose credential it is: a model has a circuit for each, since a provider may fail for one alone.
        """
        route = (model.tenant, model.model, payer)
        wait_s = self._circuits.admit(route, self._clock.monotonic())
        if wait_s:
            raise faults.unavailable(model.provider, faults.Kind.FAILED, wait_s)
        asked = replace(ask, max_output_tokens=min(ask.max_output_tokens, model.max_output_tokens))
        tally = Tally(_asked_tokens(ask))
        result: Result | None = None
        with attempt(model) as span:
            try:
                answer = self._providers[model.provider].generate(
                    target, asked, stream=stream, connect_s=limits.connect_s
                )
                async with aclosing(answer), aclosing(self._paced(model, answer, limits, tally)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Ended):
                            result = _result(model, piece, tally)
                            break
                        if isinstance(piece, Counts):
                            tally.counts = piece
                            continue
                        tally.written_bytes += len(piece.encode())
                        if tally.written_bytes > asked.max_output_tokens * _MOST_BYTES_A_TOKEN:
                            raise faults.unavailable(model.provider, faults.Kind.GARBAGE)
                        if piece:
                            yield piece
                if result is None:
                    raise faults.unavailable(model.provider, faults.Kind.CUT)
                span.ended(result)
                self._circuits.succeeded(route)
            except TenantryError as error:
                self._learn(route, error, tally)
                if tally.written_bytes:
                    span.used(tally.input_tokens, tally.output_tokens)
                    counts = (tally.input_tokens, tally.output_tokens, tally.cached_input_tokens)
                    faults.used(error, model.model, *counts, _cost(model, tally))
                raise
            finally:
                # A cancelled call says nothing of the provider; after one that did, this changes nothing.
                self._circuits.released(route)
        yield result

    async def _paced(
        self, model: Model, answer: AsyncGenerator[Piece, None], limits: Limits, tally: Tally
    ) -> AsyncGenerator[Piece, None]:
        """The same pieces, each within its time."""
        end = self._clock.monotonic() + limits.total_s
        limit_s = limits.first_token_s
        while True:
            left = end - self._clock.monotonic()
            try:
                async with asyncio.timeout(min(limit_s, left)):
                    piece = await anext(answer)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if left <= limit_s:
                    raise faults.out_of_time() from None
                tally.hurried = limit_s < _PATIENCE_S
                raise faults.unavailable(model.provider, faults.Kind.FAILED) from None
            yield piece
            if isinstance(piece, str):
                limit_s = limits.stall_s

    def _learn(self, route: tuple[str, str, str], error: TenantryError, tally: Tally) -> None:
        if isinstance(error, Unavailable):
            if not tally.hurried:
                self._circuits.failed(route, self._clock.monotonic())
        elif not isinstance(error, DeadlineExceeded):
            self._circuits.succeeded(route)


def _asked_tokens(ask: Ask) -> int:
    turns = estimated_tokens(*(turn.text for turn in ask.turns))
    return turns + estimated_tokens(*(f"{one.title}{one.heading}{one.text}" for one in ask.passages))


def _result(model: Model, ended: Ended, tally: Tally) -> Result:
    tally.counts = ended.counts
    estimated = ended.counts.input_tokens is None or ended.counts.output_tokens is None
    return Result(
        model.provider.value,
        model.model,
        ended.revision or model.revision,
        tally.input_tokens,
        tally.output_tokens,
        _cost(model, tally),
        ended.finish,
        estimated,
        tally.cached_input_tokens,
    )


def _cost(model: Model, tally: Tally) -> int:
    return cost_micros(model, tally.input_tokens, tally.output_tokens, tally.cached_input_tokens)
