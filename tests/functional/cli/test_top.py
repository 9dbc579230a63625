"""`tenantry top`: who runs and who waits, for operators and for tenants."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.functional.cli.command import Command
from tests.functional.cli.crowd import Crowd, crowd
from tests.harness.mesh import RunningMesh, TenantKeys
from tests.harness.poll import until


@pytest.fixture
async def pool(local: RunningMesh) -> AsyncIterator[Crowd]:
    async with crowd(local) as running:
        yield running


async def look(command: Command, pool: Crowd, *more: str) -> dict[str, dict[str, Any]]:
    """The rows of one look, by tenant."""
    done = await asyncio.to_thread(command, f"top --once --pool {pool.pool}", *more)
    assert done.status == 0, done
    return {line["tenant"]: line for line in done.lines()}


async def test_an_operator_sees_who_runs_and_waits_with_shares_and_limits(
    local: RunningMesh, operator: Command, keys: TenantKeys, pool: Crowd
) -> None:
    other = local.tenant()
    assert (
        await asyncio.to_thread(operator, f"limits set {keys.tenant} --queue-weight 3 --tokens-per-day 9999")
    ).status == 0
    assert (await asyncio.to_thread(operator, f"limits set {other.tenant} --queue-weight 1")).status == 0
    pool.call(keys.key)
    await until(lambda: len(pool.server.requests) == 1, 20)
    for key in (keys.key, keys.key, other.key):
        pool.call(key)

    async def all_wait() -> bool:
        rows = await look(operator, pool)
        return sum(int(row["waiting"]) for row in rows.values()) == 3

    await until(all_wait, 20, 0.2)
    rows = await look(operator, pool)
    mine, others = rows[keys.tenant], rows[other.tenant]
    assert (mine["running"], mine["waiting"], others["running"], others["waiting"]) == ("1", "2", "0", "1")
    assert (mine["share"], others["share"]) == (pytest.approx(0.75, abs=1e-3), pytest.approx(0.25, abs=1e-3))
    assert (mine["running_share"], others["running_share"]) == (1.0, 0.0)
    assert 0 < mine["requests_used"] < 1 and 0 < mine["tokens_used"] < 1 and mine["refused_by"] == []
    shown = (await asyncio.to_thread(operator.on_terminal, f"top --once --pool {pool.pool}")).out
    assert "1 of 1 in use, 3 waiting" in shown and keys.tenant in shown and "75%" in shown and "100%" in shown, shown
    unnamed = await asyncio.to_thread(operator.on_terminal, "top --once")
    assert pool.pool in unnamed.out, "without a name it shows the pools that were set"


async def test_a_limit_that_refuses_is_named(operator: Command, keys: TenantKeys, pool: Crowd) -> None:
    assert (await asyncio.to_thread(operator, f"limits set {keys.tenant} --concurrent-requests 9")).status == 0
    limited = f"limits set {keys.tenant} --model {pool.model} --requests-per-minute 1 --request-burst 1"
    assert (await asyncio.to_thread(operator, limited)).status == 0
    pool.call(keys.key)
    await until(lambda: len(pool.server.requests) == 1, 20)

    async def refused() -> bool:
        pool.call(keys.key)  # until the rule is in force
        return (await look(operator, pool))[keys.tenant]["refused_by"] == ["requests_per_minute"]

    await until(refused, 20, 0.2)
    rows = await look(operator, pool)
    assert rows[keys.tenant]["requests_used"] == 1.0

    async def counted() -> bool:
        return (await look(operator, pool))[keys.tenant]["refusals"] >= 1

    await until(counted, 20, 0.2)
    shown = (await asyncio.to_thread(operator.on_terminal, f"top --once --pool {pool.pool}")).out
    assert "requests_per_minute" in shown and "100%" in shown and "refusals" in shown, shown


async def test_who_is_refused_and_in_no_pool_is_shown_to_operators_and_to_itself(
    local: RunningMesh, operator: Command, tenantry: Command, keys: TenantKeys
) -> None:
    limited = f"limits set {keys.tenant} --tokens-per-minute 1 --token-burst 1"
    assert (await asyncio.to_thread(operator, limited)).status == 0
    for _ in range(2):
        assert "LARGER_THAN_LIMIT" in (await asyncio.to_thread(tenantry, "ask Why?")).err

    async def lines(command: Command) -> dict[str, Any]:
        return {line["tenant"]: line for line in (await asyncio.to_thread(command, "top --once")).lines()}

    async def both_are_counted() -> bool:
        return (await lines(operator)).get(keys.tenant, {}).get("refusals") == 2

    await until(both_are_counted, 20, 0.2)
    own = await lines(tenantry)
    assert list(own) == [keys.tenant] and (own[keys.tenant]["pool"], own[keys.tenant]["refusals"]) == ("", 2)
    other = local.tenant()
    assert await lines(operator.within(TENANTRY_KEY=other.key)) == {}
    shown = (await asyncio.to_thread(operator.on_terminal, "top --once")).out
    assert "refused, and in no pool" in shown and keys.tenant in shown, shown


async def test_a_tenants_admin_sees_its_own_row_alone(
    local: RunningMesh, tenantry: Command, keys: TenantKeys, pool: Crowd
) -> None:
    pool.call(local.tenant().key)
    await until(lambda: len(pool.server.requests) == 1, 20)
    pool.call(keys.key)

    async def waits() -> bool:
        return bool(await look(tenantry, pool))

    await until(waits, 20, 0.2)
    rows = await look(tenantry, pool)
    assert list(rows) == [keys.tenant] and rows[keys.tenant]["waiting"] == "1"
    assert "running_share" not in rows[keys.tenant], "that would tell of others"
    unnamed = await asyncio.to_thread(tenantry.on_terminal, "top --once")
    assert pool.pool in unnamed.out and "in use" not in unnamed.out, "the pools of the models that it can reach"


async def test_without_the_scope_it_is_refused_in_a_sentence(operator: Command, local: RunningMesh) -> None:
    key = local.key(local.tenant().tenant, ["generate"])
    for line in ("top --once --pool openai:none", "top --once"):
        refused = await asyncio.to_thread(operator.within(TENANTRY_KEY=key), line)
        assert refused.status == 1 and "SCOPE_MISSING" in refused.err and refused.err.count("\n") == 1, refused


@pytest.mark.parametrize("where", ["pipe", "terminal"])
async def test_ctrl_c_ends_it_cleanly(operator: Command, keys: TenantKeys, pool: Crowd, where: str) -> None:
    pool.call(keys.key)
    await until(lambda: len(pool.server.requests) == 1, 20)
    environment = operator.environment | ({"FORCE_COLOR": "1"} if where == "terminal" else {})
    arguments = operator.arguments(f"top --every 0.5 --pool {pool.pool}")
    lines, status, err = await asyncio.to_thread(interrupted, arguments, environment)
    assert (status, err) == (0, "")
    if where == "pipe":
        assert [json.loads(line)["tenant"] for line in lines] == [keys.tenant] * 2


def interrupted(arguments: list[str], environment: dict[str, str]) -> tuple[list[str], int, str]:
    """Two lines of the command, and how it ends at Ctrl-C."""
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell in the background may have told us otherwise
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    return lines, process.returncode, err
