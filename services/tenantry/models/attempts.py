"""One attempt at one provider: its circuit, its place in the provider's pool, its time limits, its span, and the count of what
it used."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, ResourceExhausted, TenantryError, Unavailable
from tenantry.models import faults
from tenantry.models.attempt_span import AttemptSpan, attempt
from tenantry.models.breaker import Circuits
from tenantry.models.generation import AnswerProvider, Ask, Counts, Ended, Piece, Result, Target
from tenantry.models.limits import Limits
from tenantry.models.model import Model, Provider
from tenantry.models.prices import cost_micros, estimated_tokens
from tenantry.models.slots import FreeSeat, Outcome, Seat, Slots, Standing, Wanted, pool_of

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


@dataclass(frozen=True, slots=True)
class Payer:
    """For which tenant a call is made, under which receipt, and whose the credential is: "" for the platform's or none."""

    tenant: str
    receipt: Any
    credential: str


class Attempts:
    """Makes attempts. `circuits` are shared by all calls of this replica."""

    def __init__(
        self, providers: Mapping[Provider, AnswerProvider], circuits: Circuits, slots: Slots, clock: Clock
    ) -> None:
        self._providers = providers
        self._circuits = circuits
        self._slots = slots
        self._clock = clock

    async def make(
        self, model: Model, target: Target, payer: Payer, ask: Ask, limits: Limits, *, stream: bool
    ) -> AsyncGenerator[str | Standing | Result, None]:
        """Where the call stands while it waits, deltas and then the result; an error after the first delta says in its
        metadata what was used.

        A model has a circuit for each payer, since a provider may fail for one alone.
        """
        route = (model.tenant, model.model, payer.credential)
        wait_s = self._circuits.admit(route, self._clock.monotonic())
        if wait_s:
            raise faults.unavailable(model.provider, faults.Kind.FAILED, wait_s)
        asked = replace(ask, max_output_tokens=min(ask.max_output_tokens, model.max_output_tokens))
        tally = Tally(_asked_tokens(ask))
        try:
            # What the queue refuses says nothing of the provider.
            async with self._seat(model, payer, asked, tally, limits) as seat:
                async with aclosing(seat.turn()) as standings:
                    async for standing in standings:
                        yield standing
                left = _after(limits, seat.waited_s)
                answer = self._answer(model, target, asked, left, tally, seat, route, stream=stream)
                async with aclosing(answer) as pieces:
                    async for piece in pieces:
                        yield piece
        finally:
            # A cancelled call says nothing of the provider; after one that did, this changes nothing.
            self._circuits.released(route)

    def _seat(
        self, model: Model, payer: Payer, asked: Ask, tally: Tally, limits: Limits
    ) -> AbstractAsyncContextManager[Seat]:
        if model.provider is Provider.EXTRACTIVE:
            return nullcontext(FreeSeat())
        pool = pool_of(model, payer.tenant, payer.credential)
        sizes = (tally.asked_tokens, asked.max_output_tokens)
        return self._slots.take(Wanted(payer.receipt, pool, *sizes, limits.first_token_s, asked.priority))

    async def _answer(
        self,
        model: Model,
        target: Target,
        asked: Ask,
        limits: Limits,
        tally: Tally,
        seat: Seat,
        route: tuple[str, str, str],
        *,
        stream: bool,
    ) -> AsyncGenerator[str | Result, None]:
        """What the provider answers, while the call has its place."""
        with attempt(model, seat.waited_s) as span:
            try:
                answer = self._providers[model.provider].generate(
                    target, asked, stream=stream, connect_s=limits.connect_s
                )
                result: Result | None = None
                async with aclosing(answer), aclosing(self._paced(model, answer, limits, tally, seat)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Ended):
                            result = _result(model, piece, tally)
                            break
                        if isinstance(piece, Counts):
                            tally.counts = piece
                            continue
                        tally.written_bytes += len(piece.encode())
                        seat.wrote(tally.output_tokens)
                        if tally.written_bytes > asked.max_output_tokens * _MOST_BYTES_A_TOKEN:
                            raise faults.unavailable(model.provider, faults.Kind.GARBAGE)
                        if piece:
                            yield piece
                if result is None:
                    raise faults.unavailable(model.provider, faults.Kind.CUT)
                span.ended(result)
                self._circuits.succeeded(route)
                seat.ended(Outcome.OK, result.output_tokens, 0.0)
            except TenantryError as error:
                self._failed(model, route, error, tally, seat, span)
                raise
        yield result

    def _failed(
        self,
        model: Model,
        route: tuple[str, str, str],
        error: TenantryError,
        tally: Tally,
        seat: Seat,
        span: AttemptSpan,
    ) -> None:
        if not seat.lost:
            self._learn(route, error, tally)
        is_throttled = isinstance(error, ResourceExhausted)
        retry_after_s = error.retry_after_s or 0.0 if isinstance(error, ResourceExhausted) else 0.0
        seat.ended(Outcome.THROTTLED if is_throttled else Outcome.FAILED, tally.output_tokens, retry_after_s)
        if tally.written_bytes:
            span.used(tally.input_tokens, tally.output_tokens)
            counts = (tally.input_tokens, tally.output_tokens, tally.cached_input_tokens)
            faults.used(error, model.model, *counts, _cost(model, tally))

    async def _paced(
        self, model: Model, answer: AsyncGenerator[Piece, None], limits: Limits, tally: Tally, seat: Seat
    ) -> AsyncGenerator[Piece, None]:
        """The same pieces, each within its time, and as long as the call has its place."""
        end = self._clock.monotonic() + limits.total_s
        limit_s = limits.first_token_s
        while True:
            left = end - self._clock.monotonic()
            try:
                async with asyncio.timeout(min(limit_s, left)) as limit:
                    seat.cut(limit)
                    if seat.lost:
                        raise faults.seat_lost()
                    piece = await anext(answer)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if seat.lost:
                    raise faults.seat_lost() from None
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


def _after(limits: Limits, waited_s: float) -> Limits:
    """What is left of the time for the provider."""
    total_s = max(0.0, limits.total_s - waited_s)
    return replace(limits, first_token_s=min(limits.first_token_s, total_s), total_s=total_s)


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
