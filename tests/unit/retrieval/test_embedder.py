"""Vectors of texts."""

from collections.abc import AsyncGenerator
from pathlib import Path

import numpy
import pytest

from tenantry.retrieval.embedder import DIMENSIONS, WordLlamaEmbedder


@pytest.fixture
async def embedder() -> AsyncGenerator[WordLlamaEmbedder]:
    embedder = WordLlamaEmbedder()
    yield embedder
    embedder.close()


async def test_vectors_are_those_of_the_library(embedder: WordLlamaEmbedder) -> None:
    import wordllama

    library = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    texts = ["What is the notice period?", "x", "Straße 🙂 हिन्दी", "long words " * 700, "# Code\n\n```\nx = 1\n```"]
    ours = await embedder.embed(texts)
    theirs = numpy.concatenate([library.embed([text], norm=True) for text in texts])  # pyright: ignore
    assert ours.shape == (5, DIMENSIONS) and ours.dtype == numpy.float32
    assert numpy.abs(ours - theirs).max() < 1e-5


async def test_like_meanings_are_near(embedder: WordLlamaEmbedder) -> None:
    question, near, far = await embedder.embed(
        ["How long is the vacation?", "Employees get 28 days of holiday leave.", "The printer is out of toner."]
    )
    assert question @ near > question @ far


async def test_a_text_without_tokens_has_a_vector_of_zeros(embedder: WordLlamaEmbedder) -> None:
    assert not (await embedder.embed([""])).any()
    assert (await embedder.embed([])).shape == (0, DIMENSIONS)


async def test_many_texts_are_embedded_in_their_order(embedder: WordLlamaEmbedder) -> None:
    texts = [f"number {number}" for number in range(150)]
    together = await embedder.embed(texts)
    assert numpy.allclose(together[149], (await embedder.embed([texts[149]]))[0])
