"""The built-in provider: sentences of the passages, without any API key, at no cost."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from tenantry.models.extractive import NOTHING, answer, read
from tenantry.models.generation import Ask, Counts, Ended, Finish, Passage, Piece, Role, Target
from tenantry.models.prices import estimated_tokens

REVISION = "extractive-1"
# A passage of such a length is read in a thread; of shorter ones as many at once as take a moment, so that others go on.
_LONG_CHARS = 8_000
_MOMENT_S = 0.001


class ExtractiveProvider:
    """An AnswerProvider. It streams by sentence; its counts are estimates that it tells as its own."""

    async def generate(
        self, target: Target, ask: Ask, *, stream: bool, connect_s: float
    ) -> AsyncGenerator[Piece, None]:
        question = ask.question or next(turn.text for turn in reversed(ask.turns) if turn.role is Role.USER)
        if any(len(passage.text) > _LONG_CHARS for passage in ask.passages):
            told = await asyncio.to_thread(answer, question, ask.passages)
        else:
            await _read(ask.passages)
            told = answer(question, ask.passages)
        deltas, finish = _fitting([f"{one.text} [{one.number}]" for one in told] or [NOTHING], ask.max_output_tokens)
        asked = estimated_tokens(*(turn.text for turn in ask.turns), *(passage.text for passage in ask.passages))
        if stream:
            for delta in deltas:
                yield delta
        else:
            yield "".join(deltas)
        yield Ended(Counts(asked, estimated_tokens(*deltas)), finish, REVISION)


async def _read(passages: Sequence[Passage]) -> None:
    """Reads the passages beforehand; what was read is remembered."""
    since = time.monotonic()
    for passage in passages:
        read(passage)
        if time.monotonic() - since > _MOMENT_S:
            await asyncio.sleep(0)
            since = time.monotonic()


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
