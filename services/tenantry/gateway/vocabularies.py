"""OpenAI's vocabularies as tiktoken knows them, from a folder of this machine: nothing is fetched while requests are served."""

import asyncio
import hashlib
import logging
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, cast

from tiktoken import Encoding, encoding_name_for_model, load
from tiktoken_ext import openai_public  # pyright: ignore[reportMissingTypeStubs]

from tenantry.gateway.peers import Model
from tenantry.gateway.tokens import Counter

log = logging.getLogger(__name__)


class Vocabularies:
    """Those that `folder` has in the form of tiktoken's own cache, each loaded in a thread when a model first wants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loads: dict[str, asyncio.Task[Counter | None]] = {}

    async def counter(self, model: Model) -> Counter | None:
        """Counts as the model does; None for a model that tiktoken does not know, or whose vocabulary is not there."""
        if model.provider != "openai":
            return None
        try:
            name = encoding_name_for_model(model.provider_model)
        except KeyError:
            return None
        if name not in self._loads:
            loading = asyncio.to_thread(_load, self._folder, name)
            self._loads[name] = asyncio.create_task(loading, context=Context())  # what it says is about no tenant
        # Others wait for it too, when this request goes.
        return await asyncio.shield(self._loads[name])


def _load(folder: Path, name: str) -> Counter | None:
    # By itself tiktoken fetches what is missing and removes what is damaged.
    load.read_file_cached = partial(_read, folder)
    try:
        parts = cast("dict[str, Any]", openai_public.ENCODING_CONSTRUCTORS[name]())
    except (OSError, ValueError):
        log.warning(
            "the vocabulary %s is missing or damaged, so tokens of its models are estimated: fill the folder that "
            "TENANTRY_TOKENIZERS names again, as docs/ARCHITECTURE.md says, and restart",
            name,
        )
        return None
    encoding = Encoding(**parts)
    # Half of the memory, and not needed to count.
    parts["mergeable_ranks"].clear()
    return partial(_count, encoding)


def _read(folder: Path, address: str, expected_hash: str | None = None) -> bytes:
    data = (folder / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()).read_bytes()
    if expected_hash is None or not load.check_hash(data, expected_hash):
        raise ValueError
    return data


def _count(encoding: Encoding, text: str) -> int:
    # What looks like a special token is text: a user wrote it.
    return len(encoding.encode(text, disallowed_special=()))
