"""Whatever ends an answer, what it used is settled once, and its client's going stops no settlement."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from tenantry.gateway import estimate
from tenantry.gateway.answering import Answering
from tenantry.gateway.citations import Passage
from tenantry.gateway.holding import Hold
from tenantry.gateway.peers import (
    Answer,
    End,
    Epoch,
    Found,
    Generation,
    Hit,
    Lead,
    Model,
    Peers,
    Plan,
    Rendered,
    Reserved,
    Use,
    Waiting,
)
from tenantry.gateway.production import Complete, Production
from tenantry.gateway.query import Query
from tenantry.gateway.settings import Settings
from tenantry.gateway.tokens import Tokens
from tenantry.kit import call
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import DeadlineExceeded, Internal, Reason, ResourceExhausted, TenantryError, Unavailable

FALLBACK = Model("m-2", "anthropic", "r-2", 10_000_000, 20_000_000, 4096)
CHOSEN = Model("m-1", "openai", "r-1", 1_000_000, 2_000_000, 4096, (FALLBACK,), "gpt-4")
RENDERED = Rendered("answer", 1, "Be brief.", "How long?", "", 100, None)
PASSAGE = Passage("default", "refunds", "Refunds", "Period", "The refund period is 45 days. " * 40)
END = End("openai", "m-1", "r-1", 10, 5, 20, "stop")
Pieces = Callable[[], AsyncGenerator[Any]]


class Script:
    """The other services: a model that says `pieces`, a cache that finds `found`, and a quota that commits at `settle`."""

    def __init__(self, pieces: Pieces, found: Found | TenantryError | None = None) -> None:
        self._pieces = pieces
        self._found: Found | TenantryError = Lead("") if found is None else found
        self.settle = asyncio.Event()
        self.settle.set()
        self.committed: list[Use] = []
        self.released = 0
        self.renewed: int | TenantryError = 4096
        self.reserved: list[int] = []

    async def render(self, query: Query) -> Rendered:
        return RENDERED

    async def select_model(self, model: str) -> Model:
        return CHOSEN

    async def documents_epoch(self) -> Epoch:
        return Epoch(1, False, "words")

    async def search(self, query: Query) -> list[Passage]:
        return [PASSAGE]

    async def reserve(self, plan: Plan, nonce: str, input_tokens: int) -> Reserved:
        self.reserved.append(input_tokens)
        return Reserved(object(), 4096)

    async def renew(self, receipt: object, output_tokens: int) -> int:
        if isinstance(self.renewed, TenantryError):
            raise self.renewed
        return self.renewed

    async def commit(self, receipt: object, use: Use) -> None:
        await self.settle.wait()
        self.committed.append(replace(use))

    async def release(self, receipt: object) -> None:
        self.released += 1

    async def look_up(self, plan: Plan) -> Found:
        if isinstance(self._found, TenantryError):
            raise self._found
        return self._found

    def generate(self, generation: Generation) -> AsyncGenerator[Any]:
        return self._pieces()


async def whole() -> AsyncGenerator[Any]:
    yield "45 days [1]."
    yield END


def begun(script: Script, held: int = 4096, tokens: Tokens | None = None) -> tuple[Production, Hold]:
    peers, clock = cast(Peers, script), SystemClock()
    plan = Plan(Query("How long?", cached=False), RENDERED, CHOSEN, Epoch(1, False, "words"))
    hold = Hold(peers, Reserved(object(), held), clock, 5.0, 120.0)
    return Production(peers, plan, hold, "", Use(), clock, tokens or Tokens(), streamed=True), hold


async def ended(production: Production) -> None:
    async with asyncio.timeout(5):
        await production.task


async def test_a_client_that_goes_while_its_answer_is_settled_does_not_stop_the_settlement() -> None:
    async def late() -> AsyncGenerator[Any]:
        yield "It is "
        raise DeadlineExceeded

    script = Script(late)
    script.settle.clear()
    production, _ = begun(script)
    assert await production.next() == "It is "
    with pytest.raises(DeadlineExceeded):
        await production.next()
    await production.client_gone()
    script.settle.set()
    await ended(production)
    assert [one.outcome for one in script.committed] == ["deadline"] and script.released == 0


@pytest.mark.parametrize("pieces", [63, 64, 65, 500])
async def test_a_client_that_goes_and_leaves_a_full_line_of_pieces_is_settled(pieces: int) -> None:
    full = asyncio.Event()

    async def many() -> AsyncGenerator[Any]:
        for number in range(pieces):
            if number == min(pieces - 1, 64):
                full.set()
            yield "word "
        yield END

    script = Script(many)
    production, hold = begun(script)
    await full.wait()
    await production.client_gone()
    await ended(production)
    assert len(script.committed) == 1 and script.committed[0].output_tokens > 0
    assert hold._renewing.cancelled() or hold._renewing.cancelling(), "nobody renews what is settled"


async def test_what_a_cancelled_answer_read_counts_its_passages() -> None:
    async def slow() -> AsyncGenerator[Any]:
        yield "It is "
        await asyncio.Event().wait()

    script = Script(slow)
    production, _ = begun(script)
    await production.next()
    await production.client_gone()
    await ended(production)
    (use,) = script.committed
    assert use.outcome == "cancelled" and use.model == "m-1"
    assert use.input_tokens > estimate.likely_tokens(PASSAGE.text) > 300


async def test_what_a_cancelled_answer_read_and_wrote_is_counted_as_the_model_that_began_it_counts() -> None:
    async def other() -> AsyncGenerator[Any]:
        yield FALLBACK
        yield "It is 45 "
        await asyncio.Event().wait()

    async def counters(model: Model) -> Callable[[str], int] | None:
        return (lambda text: len(text.split())) if model == FALLBACK else None

    script = Script(other)
    production, _ = begun(script, tokens=Tokens(counters))
    await production.next()
    await production.client_gone()
    await ended(production)
    (use,) = script.committed
    texts = (RENDERED.system, RENDERED.user, PASSAGE.title, PASSAGE.heading, PASSAGE.text)
    read = sum(len(text.split()) for text in texts) + estimate.frame_tokens(2, 1)
    assert (use.input_tokens, use.output_tokens, use.counts_estimated) == (read, 3, True)


@pytest.mark.parametrize("turn_came", [False, True])
async def test_a_client_that_goes_while_its_call_waits_for_its_turn_pays_for_nothing(turn_came: bool) -> None:
    async def waits() -> AsyncGenerator[Any]:
        yield Waiting(2, 1.5)
        if turn_came:
            yield Waiting(0, 0.0)
        await asyncio.Event().wait()

    script = Script(waits)
    production, _ = begun(script)
    assert await production.next() == Waiting(2, 1.5)
    if turn_came:
        assert await production.next() == Waiting(0, 0.0)
    await production.client_gone()
    await ended(production)
    (use,) = script.committed
    assert use.outcome == "cancelled" and (use.input_tokens > 0) == turn_came and (use.cost_micros > 0) == turn_came


@pytest.mark.parametrize(("left_s", "outcome"), [(0.1, "deadline"), (-0.1, "deadline"), (5.0, "cancelled")])
async def test_a_client_that_goes_at_its_deadline_was_too_late_and_one_that_goes_before_cancelled(
    left_s: float, outcome: str
) -> None:
    async def slow() -> AsyncGenerator[Any]:
        yield "It is "
        await asyncio.Event().wait()

    script = Script(slow)
    with call.entered(call.Call(deadline=SystemClock().monotonic() + left_s)):
        production, _ = begun(script)
    await production.next()
    await production.client_gone()
    await ended(production)
    assert [use.outcome for use in script.committed] == [outcome]


@pytest.mark.parametrize("goes", [True, False], ids=["the client goes", "it breaks"])
async def test_an_answer_that_a_fallback_began_is_the_fallbacks_in_name_and_price(goes: bool) -> None:
    async def other() -> AsyncGenerator[Any]:
        yield FALLBACK
        yield "It is "
        if goes:
            await asyncio.Event().wait()
        error = Unavailable(Reason.PROVIDER_UNAVAILABLE, "it broke off")
        error.metadata |= {"model": "m-2", "input_tokens": "90", "output_tokens": "3", "cost_micros": "960"}
        raise error

    script = Script(other)
    production, _ = begun(script)
    await production.next()
    if goes:
        await production.client_gone()
    await ended(production)
    (use,) = script.committed
    assert (use.provider, use.model, use.model_revision) == ("anthropic", "m-2", "r-2")
    assert use.cost_micros == use.input_tokens * 10 + use.output_tokens * 20


def answering(script: Script) -> Answering:
    return Answering(cast(Peers, script), Settings(), SystemClock(), Tokens())


async def test_a_request_is_held_for_what_any_of_its_models_may_read() -> None:
    script = Script(whole)
    going = answering(script)
    query = Query("How long?", cached=False)
    async for _ in going.answer(query, streamed=False):
        pass
    await going.drain()
    assert script.reserved == [await Tokens().to_hold(Plan(query, RENDERED, CHOSEN, Epoch(1, False, "words")))]


async def test_a_hit_whose_client_goes_between_its_text_and_its_end_is_settled() -> None:
    answer = Answer("45 days.", (), "openai", "m-1", "r-1", 10, 5, "stop")
    script = Script(whole, Hit(answer, 1))
    going = answering(script)
    pieces = going.answer(Query("How long?"), streamed=True)
    assert await anext(pieces) == "45 days."
    await pieces.aclose()
    await going.drain()
    assert [one.cache_hit for one in script.committed] == [True]


@pytest.mark.parametrize(
    "error", [DeadlineExceeded(), Internal("it refused"), Unavailable(Reason.STORE_UNAVAILABLE, "away")]
)
async def test_whatever_is_wrong_with_the_cache_the_answer_is_made_as_if_there_was_none(error: TenantryError) -> None:
    script = Script(whole, error)
    going = answering(script)
    pieces = [one async for one in going.answer(Query("How long?"), streamed=False)]
    await going.drain()
    assert pieces[0] == "45 days [1]." and isinstance(pieces[-1], Complete)
    assert [one.outcome for one in script.committed] == ["ok"]


async def test_an_answer_that_the_limits_admit_no_more_of_ends_with_their_refusal_and_is_settled_by_what_it_wrote() -> (
    None
):
    async def long() -> AsyncGenerator[Any]:
        while True:
            yield "word " * 20
            await asyncio.sleep(0)

    script = Script(long)
    script.renewed = ResourceExhausted(Reason.TOKENS_BUDGET, "the budget is used", retry_after_s=60.0)
    production, _ = begun(script, held=20)
    with pytest.raises(ResourceExhausted) as refused:
        while True:
            await production.next()
    await ended(production)
    assert refused.value.reason == Reason.TOKENS_BUDGET
    (use,) = script.committed
    assert use.outcome == "failed" and use.output_tokens > 20 and script.released == 0
