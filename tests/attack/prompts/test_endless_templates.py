"""Attacks by templates that render for ever: what they cost others."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tenantry.kit.caller import scope
from tenantry.kit.errors import InvalidArgument, Reason, ResourceExhausted
from tenantry.prompts.rendering import LATE_S, Renderer
from tests.harness.room import caller_of

ENDLESS = "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}"


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.close()


async def test_two_hundred_endless_renders_of_a_tenant_hold_nobody_else_longer_than_one(renderer: Renderer) -> None:
    with scope(caller_of("globex", "globex-org")):
        attacks = [asyncio.create_task(renderer.render([ENDLESS], {})) for _ in range(200)]
    await asyncio.sleep(0)
    with scope(caller_of("acme")):
        for _ in range(5):
            began = time.monotonic()
            assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]
            # Beside the second: the start of a child, on a machine that is busy with the other one.
            assert time.monotonic() - began < 3 * LATE_S
    began = time.monotonic()
    ended = await asyncio.gather(*attacks, return_exceptions=True)
    assert time.monotonic() - began < 10
    refused = [error for error in ended if isinstance(error, ResourceExhausted)]
    assert len(refused) > 150
    assert all(error.reason == Reason.SERVER_BUSY and error.retry_after_s for error in refused)
    assert all(isinstance(error, InvalidArgument | ResourceExhausted) for error in ended)
    with scope(caller_of("globex", "globex-org")):
        assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]


async def test_endless_renders_of_several_tenants_take_turns_with_a_good_one(renderer: Renderer) -> None:
    attacks: list[asyncio.Task[list[str]]] = []
    for tenant in ("globex", "initech", "hooli"):
        with scope(caller_of(tenant, f"{tenant}-org")):
            attacks += [asyncio.create_task(renderer.render([ENDLESS], {})) for _ in range(20)]
    await asyncio.sleep(0)
    with scope(caller_of("acme")):
        began = time.monotonic()
        assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]
        assert time.monotonic() - began < 4 * LATE_S
    for attack in attacks:
        attack.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)
