"""How many tokens a request reads and writes: counted by the model's own tokenizer where it is known, else estimated."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from tenantry.gateway import estimate
from tenantry.gateway.peers import Generation, Model, Plan

Counter = Callable[[str], int]
Counters = Callable[[Model], Awaitable[Counter | None]]

# In characters. Beyond it a thread counts: that many take a quarter of a millisecond, at worst one.
_COUNTED_AT_ONCE = 4096
# Larger texts are estimated: nobody's limits have been asked yet, and a tokenizer takes 15 ms for one of these at worst.
_MOST_COUNTED = 64 * 1024


async def _no_counter(_: Model) -> None:
    return None


class Tokens:
    """`counters` gives a model's tokenizer, or None where nobody has it."""

    def __init__(self, counters: Counters = _no_counter) -> None:
        self._counters = counters

    async def to_hold(self, plan: Plan) -> int:
        """What whoever of the plan's models makes most of it will read, before the passages are known."""
        texts = _messages(plan)
        counters = {await self._counters(model) for model in (plan.model, *plan.model.fallbacks)}
        most = max([await _sum(counter, texts, estimate.most_tokens) for counter in counters])
        return most + estimate.frame_tokens(len(texts)) + estimate.expected_passages_tokens(plan.query.passages)

    async def read(self, generation: Generation, model: Model) -> int:
        """What the model has read, all messages and passages."""
        messages = [*_messages(generation.plan), *(text for _, text in generation.turns)]
        passages = [f"{one.title}\n{one.heading}\n{one.text}" for one in generation.passages]
        counted = await _sum(await self._counters(model), messages + passages, estimate.likely_tokens)
        return counted + estimate.frame_tokens(len(messages), len(passages))

    async def written(self, text: str, model: Model) -> int:
        """What the model has written."""
        return await _sum(await self._counters(model), (text,), estimate.likely_tokens)


def _messages(plan: Plan) -> list[str]:
    rendered = plan.rendered
    return [text for text in (rendered.system, rendered.user, rendered.output_schema) if text]


async def _sum(counter: Counter | None, texts: Collection[str], otherwise: Counter) -> int:
    if counter is None:
        return sum(map(otherwise, texts))

    def counted() -> int:
        return sum(counter(text) if len(text) <= _MOST_COUNTED else otherwise(text) for text in texts)

    return counted() if sum(map(len, texts)) <= _COUNTED_AT_ONCE else await asyncio.to_thread(counted)
