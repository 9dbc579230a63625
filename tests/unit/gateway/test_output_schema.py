"""Answers against the schema that binds them, checked by the child process that the gateway asks."""

import json
from collections.abc import AsyncIterator

import pytest

from tenantry.gateway import output_schema

SCHEMA = json.dumps({"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]})


@pytest.fixture(autouse=True)
async def ended() -> AsyncIterator[None]:
    yield
    await output_schema.close()


async def test_an_answer_that_fits_has_no_fault() -> None:
    assert await output_schema.fault_of('{"days": 45}', SCHEMA) is None


@pytest.mark.parametrize(
    "text", ["45 days", '{"days": "canary-17"}', "{}", "[" * 100_000, '{"days": 45', '{"a": "\ud800"}']
)
async def test_a_fault_says_where_and_quotes_nothing(text: str) -> None:
    fault = await output_schema.fault_of(text, SCHEMA)
    assert fault is not None
    assert "canary" not in fault and len(fault) < 500


async def test_only_the_first_faults_are_told_and_each_says_its_place() -> None:
    schema = '{"type": "array", "items": {"type": "integer"}}'
    assert await output_schema.fault_of('["a", 1, "b", "c", "d"]', schema) == "it breaks the schema at /0, at /2, at /3"
    assert await output_schema.fault_of("[" + "9" * 5000 + "]", schema) is not None
