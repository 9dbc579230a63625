"""Attacks by an output schema: the tenant's own, which the gateway checks every answer against."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import psutil
import pytest

from tenantry.gateway import output_schema
from tenantry.kit.caller import scope
from tests.harness.poll import until
from tests.harness.room import caller_of

PLAIN = '{"type": "object", "required": ["a"]}'


def doubling(levels: int) -> str:
    """Each definition refers twice to the one before."""
    definitions: dict[str, object] = {"d0": {"type": "object"}}
    for level in range(1, levels + 1):
        definitions[f"d{level}"] = {"allOf": [{"$ref": f"#/$defs/d{level - 1}"}] * 2}
    return json.dumps({"$defs": definitions, "$ref": f"#/$defs/d{levels}"})


def children() -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process().children()
        if any("schema_child" in word for word in one.cmdline() if one.is_running())
    ]


@pytest.fixture(autouse=True)
async def ended() -> AsyncIterator[None]:
    await output_schema.close()
    yield
    await output_schema.close()


async def test_an_output_schema_that_would_take_days_ends_in_a_second_and_others_go_on() -> None:
    assert await output_schema.fault_of('{"a": 1}', PLAIN) is None
    longest, began = 0.0, time.monotonic()
    with scope(caller_of("globex", "globex-org")):
        attack = asyncio.create_task(output_schema.fault_of("{}", doubling(40)))
    while not attack.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        with scope(caller_of("acme")):
            assert await output_schema.fault_of('{"a": 1}', PLAIN) is None
        longest = max(longest, time.monotonic() - before)
    assert "too long" in (await attack or "")
    # Beside the second: the start of a second child, on a machine that is busy with the first.
    assert time.monotonic() - began < 5 * output_schema.LATE_S
    assert longest < 3 * output_schema.LATE_S
    assert await output_schema.fault_of("{}", PLAIN) == "it breaks the schema at /"


async def test_many_endless_schemas_of_one_tenant_leave_others_their_turn() -> None:
    with scope(caller_of("globex", "globex-org")):
        attacks = [asyncio.create_task(output_schema.fault_of("{}", doubling(40))) for _ in range(50)]
    await asyncio.sleep(0)
    with scope(caller_of("acme")):
        for _ in range(3):
            began = time.monotonic()
            assert await output_schema.fault_of('{"a": 1}', PLAIN) is None
            assert time.monotonic() - began < 3 * output_schema.LATE_S
    for attack in attacks:
        attack.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)


async def test_a_caller_who_leaves_an_endless_check_frees_no_turn_for_the_next_one() -> None:
    with scope(caller_of("globex", "globex-org")):
        for _ in range(8):
            attack = asyncio.create_task(output_schema.fault_of("{}", doubling(40)))
            await asyncio.sleep(0.02)
            attack.cancel()
            await asyncio.gather(attack, return_exceptions=True)
        assert len(children()) <= 1


async def test_no_process_is_left_behind_when_the_gateway_ends_within_an_endless_check() -> None:
    attack = asyncio.create_task(output_schema.fault_of("{}", doubling(40)))
    await until(lambda: bool(children()))
    await output_schema.close()
    await asyncio.gather(attack, return_exceptions=True)
    assert not children()


@pytest.mark.parametrize(
    "schema",
    ['{"$ref": "#"}', '{"pattern": "^(?=(a+)+$)(a+)+$"}', '{"pattern": "(a*)*(?=b)\\\\1"}'],
    ids=["refers to itself", "looks ahead for ever", "looks back for ever"],
)
async def test_a_schema_that_runs_in_circles_is_answered_and_so_is_the_next_one(schema: str) -> None:
    await output_schema.fault_of(json.dumps("a" * 5000 + "b"), schema)
    assert await output_schema.fault_of('{"a": 1}', PLAIN) is None
