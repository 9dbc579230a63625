"""Turns texts into vectors by wordllama's 256-dimensional weights, in process and without a network.

The wheel's files are read here without its own loader: a memory map of the half-precision weights is shared by all processes
of a machine, where `WordLlama.load` makes a private copy twice as large, takes a second to import and configures the root
logger. A test compares both, vector by vector.
"""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tenantry.kit.errors import StoreFailed

NAME = "wordllama-256"
DIMENSIONS = 256
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_AT_ONCE = 64
# A question this short takes less time (about 70 µs) than the way to the thread and back.
_SHORT_CHARS = 400

Vectors = NDArray[numpy.float32]


class Embedder(Protocol):
    """Vectors of unit length, a row a text; a text without a token known to the model gets zeros."""

    name: str

    async def embed(self, texts: Sequence[str]) -> Vectors: ...


class WordLlamaEmbedder:
    """wordllama in a thread of its own. The weights are loaded once, at `start` or when first needed."""

    name = NAME

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "embed")
        self._model: _Model | None = None

    async def start(self) -> None:
        """Load the weights, so that the first question does not wait for them."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if len(texts) == 1 and len(texts[0]) <= _SHORT_CHARS and self._model is not None:
            return self._embed(texts)
        loop = asyncio.get_running_loop()
        parts: list[Vectors] = []
        # In small portions, so that a question does not wait for a whole book of somebody else.
        for start in range(0, len(texts), _AT_ONCE):
            portion = texts[start : start + _AT_ONCE]
            parts.append(await loop.run_in_executor(self._thread, self._embed, portion))
        return numpy.concatenate(parts) if parts else numpy.zeros((0, DIMENSIONS), numpy.float32)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _loaded(self) -> "_Model":
        if self._model is None:
            self._model = _Model()
        return self._model

    def _embed(self, texts: Sequence[str]) -> Vectors:
        model = self._loaded()
        return numpy.stack([model.vector(text) for text in texts])


class _Model:
    """The mean of the tokens' rows, made one long."""

    def __init__(self) -> None:
        folder = _installed()
        self._weights = _map_weights(folder / _WEIGHTS)
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def vector(self, text: str) -> Vectors:
        tokens = numpy.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=numpy.int32)
        if not tokens.size:
            return numpy.zeros(DIMENSIONS, numpy.float32)
        numpy.clip(tokens, 0, len(self._weights) - 1, out=tokens)
        mean: Vectors = self._weights[tokens].astype(numpy.float32).mean(axis=0)
        length = float(numpy.linalg.norm(mean))
        return mean / length if length > 0 else mean


def _installed() -> Path:
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise StoreFailed("the package wordllama is not installed")
    return Path(spec.origin).parent


def _map_weights(path: Path) -> NDArray[numpy.float16]:
    """The one tensor of a safetensors file: eight bytes of header length, a JSON header, then the numbers."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    tensor = header["embedding.weight"]
    rows, columns = tensor["shape"]
    if tensor["dtype"] != "F16" or columns != DIMENSIONS:
        raise StoreFailed("the installed wordllama has other weights than the 256-dimensional half-precision ones")
    start, _ = tensor["data_offsets"]
    mapped = numpy.memmap(path, dtype=numpy.float16, mode="r", offset=8 + length + start, shape=(rows, columns))
    return numpy.asarray(mapped)  # the same memory, without what its class does at each look-up
