"""What a store says when it fails is not for whoever made it fail: neither its words nor what was sent to it."""

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.kit.errors import TenantryError
from tests.functional.prompts.conftest import prompts as prompts
from tests.harness.room import Served, caller_of

CANARY = "canary5e0a"
ADMIN = caller_of(scopes={"prompts.read", "prompts.write"})


def _without_tables(file: Path) -> None:
    with sqlite3.connect(file, timeout=10) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        for (name,) in found.fetchall():
            connection.execute(f'DROP TABLE "{name}"')
    connection.close()


async def test_the_words_of_a_database_that_fails(
    prompts: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="tenantry")
    stub = PromptServiceStub(prompts.channel())
    await asyncio.to_thread(_without_tables, tmp_path / "prompts.db")
    source = pb.PromptSource(system=CANARY, user=f"{{{{ question }}}} {CANARY}")
    said: list[str] = []
    with prompts.calling(ADMIN):
        for ask in (
            stub.CreatePrompt(pb.CreatePromptRequest(prompt=CANARY, source=source)),
            stub.UpdatePrompt(pb.UpdatePromptRequest(prompt=CANARY, source=source, version=1)),
            stub.GetPrompt(pb.GetPromptRequest(prompt=CANARY)),
            stub.ListPrompts(pb.ListPromptsRequest()),
        ):
            with pytest.raises(TenantryError) as refused:
                await ask
            assert refused.value.code in ("INTERNAL", "UNAVAILABLE")
            said.append(f"{refused.value} {refused.value.metadata}")
    for word in ("no such table", "SELECT", "INSERT", "sqlite", CANARY, str(tmp_path)):
        assert word.lower() not in " ".join(said).lower()
    assert CANARY not in caplog.text and "INSERT" not in caplog.text
