"""A real vocabulary, OpenAI's cl100k_base, read once."""

import asyncio
from pathlib import Path

import pytest

from tenantry.gateway.tokens import Counter
from tenantry.gateway.vocabularies import Vocabularies
from tests.harness import vocabularies


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has it."""
    return vocabularies.filled(tmp_path_factory.mktemp("vocabularies"))


@pytest.fixture(scope="session")
def counted(filled: Path) -> Counter:
    """How many tokens it makes of a text."""
    counter = asyncio.run(Vocabularies(filled).counter(vocabularies.model("gpt-4")))
    assert counter is not None
    return counter
