"""Makes one answer: searches, calls the model, checks the schema, settles, and stores what was complete.

It runs in a task of its own, so that it may go on for others when its client has gone.
"""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, replace

from tenantry.gateway import estimate, output_schema
from tenantry.gateway.citations import Passage, cited
from tenantry.gateway.holding import Hold
from tenantry.gateway.peers import Answer, End, Generation, Model, Outcome, Peers, Plan, Use, Waiting
from tenantry.gateway.tokens import Tokens
from tenantry.kit import call
from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, FailedPrecondition, Internal, Reason, TenantryError, Unavailable

log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 1024 * 1024
# Pieces that wait for a slow client; then the model's stream waits too.
_PIECES = 64
# A client ends its call at its deadline, which is here a little later: one that goes so near to it went because of it.
_LATE_S = 0.25


@dataclass(frozen=True, slots=True)
class Complete:
    """The end of a complete answer, with what it used."""

    answer: Answer
    use: Use


def departure(deadline: float | None, now: float) -> Outcome:
    """Why a client went that goes now, both in seconds of one monotonic clock."""
    return "deadline" if deadline is not None and now > deadline - _LATE_S else "cancelled"


class Production:
    """One answer in the making. `next` gives text, after word of waiting if any, then Complete, or raises what went wrong."""

    def __init__(
        self,
        peers: Peers,
        plan: Plan,
        hold: Hold,
        handle: str,
        use: Use,
        clock: Clock,
        tokens: Tokens,
        streamed: bool,
    ) -> None:
        self._peers = peers
        self._plan = plan
        self._hold = hold
        self._handle = handle
        self._use = use
        self._clock = clock
        self._tokens = tokens
        self._streamed = streamed
        self._started = clock.monotonic() - use.latency_s
        self._pieces: asyncio.Queue[str | Waiting | Complete | BaseException] = asyncio.Queue(_PIECES)
        self._unread = False
        self._text: list[str] = []
        # No provider reads anything while the call waits for its turn.
        self._waits = False
        # The call that is going on, and who answers it.
        self._asked: Generation | None = None
        self._model = plan.model
        self._refused: TenantryError | None = None
        hold.stop = self._stop
        if handle:
            hold.also = lambda: peers.renew_flight(plan, handle)
        # Apart, so that a client that goes ends the making and never what follows it: the settlement.
        self._making = asyncio.create_task(self._make())
        self.task = asyncio.create_task(self._run())

    async def next(self) -> str | Waiting | Complete:
        """The next piece, or the end."""
        piece = await self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def client_gone(self) -> None:
        """Stops the work unless somebody else waits for its answer."""
        self._unread = True
        while not self._pieces.empty():
            self._pieces.get_nowait()
        if self._making.done():
            return
        kept = False
        if self._handle:
            try:
                with call.detached():
                    kept = not await self._peers.abandon(self._plan, self._handle, keep_if_awaited=True)
            except TenantryError:
                kept = False
        if kept:
            log.info("an answer is finished for others who wait for it")
        else:
            self._handle = ""
            self._making.cancel()

    async def _run(self) -> None:
        await asyncio.wait((self._making,))
        complete: Complete | None = None
        if self._making.cancelled() and self._refused is not None:
            await self._count("failed", self._refused)
            await self._put(self._refused)
        elif self._making.cancelled():
            await self._count(departure(call.CURRENT.get().deadline, self._clock.monotonic()))
            await self._put(
                Internal("the making of an answer was cancelled")
            )  # read by nobody if its client was the reason
        elif (failure := self._making.exception()) is not None:
            await self._count("deadline" if isinstance(failure, DeadlineExceeded) else "failed", failure)
            await self._put(failure)
        else:
            complete = self._making.result()
            await self._put(complete)
        await self._finish(complete)

    async def _finish(self, complete: Complete | None) -> None:
        """Settles and stores, after the answer went out."""
        settled = self._hold.settle(self._use if self._asked else None)
        await asyncio.gather(settled, self._end_flight(complete))

    async def _end_flight(self, complete: Complete | None) -> None:
        if not self._handle:
            return
        with call.detached():
            if complete is not None and self._is_kept(complete.answer):
                try:
                    await self._peers.store(self._plan, self._handle, complete.answer)
                    return
                except TenantryError as error:
                    log.info("an answer was not cached", extra={"reason": error.reason.value})
            # Those who wait must not wait for what does not come.
            try:
                await self._peers.abandon(self._plan, self._handle, keep_if_awaited=False)
            except TenantryError as error:
                log.info("a flight ends by itself", extra={"reason": error.reason.value})

    def _is_kept(self, answer: Answer) -> bool:
        """Whether it is complete, and the chosen model's: a fallback's answer is not what was asked for, and is not served
        for an hour after the model is back."""
        return answer.finish_reason == "stop" and answer.model == self._plan.model.model

    async def _make(self) -> Complete:
        plan = self._plan
        passages = await self._peers.search(plan.query) if plan.query.passages else []
        bound = bool(plan.rendered.output_schema)
        generation = Generation(plan, passages, self._hold.receipt, self._streamed and not bound)
        text, end = await self._generate(generation, shown=not bound)
        if bound:
            text, end = await self._fit(generation, text, end)
            await self._put(text)
        use = self._use
        use.latency_s = self._clock.monotonic() - self._started
        return Complete(_answer(text, passages, end), use)

    async def _generate(self, generation: Generation, *, shown: bool) -> tuple[str, End]:
        """One call of the model: its text, put out as it comes if it may be `shown`."""
        self._asked, self._waits = generation, False
        self._model = self._plan.model
        self._text = []
        size = 0
        end: End | None = None
        async with aclosing(self._peers.generate(generation)) as pieces:
            async for piece in pieces:
                if isinstance(piece, End):
                    end = piece
                    continue
                if isinstance(piece, Model):
                    self._model = piece
                    continue
                if isinstance(piece, Waiting):
                    self._waits = piece.place > 0
                    await self._put(piece)
                    continue
                if self._use.first_token_s is None:
                    self._use.first_token_s = self._clock.monotonic() - self._started
                self._text.append(piece)
                size += len(piece.encode())
                if size > MAX_ANSWER_BYTES:
                    raise Unavailable(Reason.PROVIDER_UNAVAILABLE, "the answer is larger than 1 MiB", kind="garbage")
                if generation.streamed:
                    self._tell(size)
                if shown:
                    await self._put(piece)
        if end is None:
            raise Unavailable(Reason.PROVIDER_UNAVAILABLE, "the answer was cut", kind="cut")
        text = "".join(self._text)
        self._add(end)
        return text, end

    def _tell(self, size: int) -> None:
        """Say how much is written: the limits are asked for more before a long answer runs past what is held."""
        most = self._plan.max_output_tokens
        written = estimate.written_tokens(size)
        self._hold.wrote(self._use.output_tokens + (min(written, most) if most else written))

    def _stop(self, error: TenantryError) -> None:
        """End the answer: the limits admit no more of it."""
        self._refused = error
        self._making.cancel()

    async def _fit(self, generation: Generation, text: str, end: End) -> tuple[str, End]:
        """The text that fits the schema, after one repair at the most."""
        schema = self._plan.rendered.output_schema
        fault = await output_schema.fault_of(text, schema)
        if fault is None:
            return text, end
        turns = (("assistant", text), ("user", output_schema.repair_request(fault)))
        text, end = await self._generate(replace(generation, turns=turns), shown=False)
        if await output_schema.fault_of(text, schema) is not None:
            raise FailedPrecondition(
                Reason.OUTPUT_INVALID,
                "the answer does not fit the output schema, also after one repair",
                prompt=self._plan.rendered.prompt,
            )
        return text, end

    def _add(self, end: End) -> None:
        use = self._use
        use.provider, use.model, use.model_revision = end.provider, end.model, end.model_revision
        use.input_tokens += end.input_tokens
        use.output_tokens += end.output_tokens
        use.cost_micros += end.cost_micros
        use.cached_input_tokens += end.cached_input_tokens
        use.counts_estimated |= end.counts_estimated
        self._text = []

    async def _count(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """What an answer that was not completed used: as the error says, else by what was read."""
        use, model = self._use, self._model
        use.outcome = outcome
        use.latency_s = self._clock.monotonic() - self._started
        told = error.metadata if isinstance(error, TenantryError) else {}
        asked, is_read = self._asked, not self._waits and outcome != "failed"
        if asked is None or not (is_read or self._text or "input_tokens" in told):
            return
        input_tokens = int(told.get("input_tokens") or await self._tokens.read(asked, model))
        output_tokens = int(told.get("output_tokens") or await self._tokens.written("".join(self._text), model))
        cost = estimate.cost_micros(input_tokens, output_tokens, model.input_price_micros, model.output_price_micros)
        use.input_tokens += input_tokens
        use.output_tokens += output_tokens
        use.cost_micros += int(told.get("cost_micros", cost))
        use.cached_input_tokens += int(told.get("cached_input_tokens", 0))
        use.counts_estimated = True
        use.provider, use.model, use.model_revision = model.provider, model.model, model.revision
        if told.get("model", model.model) != model.model:
            # One that was not told of before: it broke off before its first piece came through.
            use.provider, use.model, use.model_revision = told.get("provider", ""), told["model"], ""

    async def _put(self, piece: str | Waiting | Complete | BaseException) -> None:
        if not self._unread:
            await self._pieces.put(piece)


def _answer(text: str, passages: list[Passage], end: End) -> Answer:
    return Answer(
        text,
        cited(text, passages),
        end.provider,
        end.model,
        end.model_revision,
        end.input_tokens,
        end.output_tokens,
        end.finish_reason,
    )
