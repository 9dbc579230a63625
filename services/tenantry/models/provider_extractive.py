"""The built-in provider: sentences of the passages, without any API key, at no cost."""

import asyncio
from collections.abc import AsyncGenerator

from tenantry.models.extractive import NOTHING, answer
from tenantry.models.generation import Ask, Counts, Ended, Finish, Piece, Role, Target
from tenantry.models.prices import estimated_tokens

REVISION = "extractive-1"
# So much text takes about a millisecond; more is read in a thread, so that other requests go on meanwhile.
_AT_ONCE_CHARS = 6_000


class ExtractiveProvider:
    """An AnswerProvider. It streams by sentence; its counts are estimates that it tells as its own."""

    async def generate(
        self, target: Target, ask: Ask, *, stream: bool, connect_s: float
    ) -> AsyncGenerator[Piece, None]:
        question = ask.question or next(turn.text for turn in reversed(ask.turns) if turn.role is Role.USER)
        if sum(len(passage.text) for passage in ask.passages) <= _AT_ONCE_CHARS:
            told = answer(question, ask.passages)
        else:
            told = await asyncio.to_thread(answer, question, ask.passages)
        deltas, finish = _fitting([f"{one.text} [{one.number}]" for one in told] or [NOTHING], ask.max_output_tokens)
        read = estimated_tokens(*(turn.text for turn in ask.turns), *(passage.text for passage in ask.passages))
        if stream:
            for delta in deltas:
                yield delta
        else:
            yield "".join(deltas)
        yield Ended(Counts(read, estimated_tokens(*deltas)), finish, REVISION)


def _fitting(sentences: list[str], most_tokens: int) -> tuple[list[str], Finish]:
    """The sentences as deltas, as far as the tokens allow: whole ones, but the first is cut rather than left out."""
    deltas: list[str] = []
    left = most_tokens
    for sentence in sentences:
        delta = f" {sentence}" if deltas else sentence
        cost = estimated_tokens(delta)
        if cost > left:
            # Four bytes are a token; cutting bytes may split a character, which is then left out.
            first = [] if deltas else [delta.encode()[: left * 4].decode(errors="ignore")]
            return deltas + first, Finish.LENGTH
        deltas.append(delta)
        left -= cost
    return deltas, Finish.STOP
