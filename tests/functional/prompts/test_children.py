"""The child processes behind templates: that they start, end, and are waited for."""

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from tenantry.kit import children
from tenantry.kit.children import Children
from tenantry.kit.errors import InvalidArgument, Unavailable
from tenantry.prompts.rendering import Renderer
from tenantry.prompts.templates import MAX_VARIABLES_BYTES, check_variables
from tests.harness.poll import until

SLOW = """
import time
from tenantry.kit import child
time.sleep(1.5)
child.serve(lambda request: {"said": request})
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return tmp_path


async def test_a_slow_start_is_not_taken_from_a_requests_time(modules: Path) -> None:
    (modules / "slow_child.py").write_text(SLOW)
    pool = Children("slow_child", late_s=1.0)
    assert await pool.ask("hello") == {"said": "hello"}
    await pool.close()


async def test_a_child_that_does_not_start_is_unavailable_and_no_fault_of_the_template(modules: Path) -> None:
    (modules / "no_child.py").write_text("raise SystemExit(1)")
    pool = Children("no_child", late_s=1.0)
    with pytest.raises(Unavailable):
        await pool.ask("hello")
    await pool.close()


async def test_a_child_that_is_never_ready_is_ended(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (modules / "mute_child.py").write_text("input()")
    monkeypatch.setattr(children, "_START_S", 0.5)
    pool = Children("mute_child", late_s=1.0)
    with pytest.raises(Unavailable):
        await pool.ask("hello")
    await pool.close()
    assert not [one for one in psutil.Process().children() if "mute_child" in one.cmdline()]


async def test_a_child_that_was_killed_while_idle_costs_nobody_a_refusal() -> None:
    renderer = Renderer()
    assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]
    (idle,) = (one for one in psutil.Process().children() if "tenantry.prompts.renderer" in one.cmdline())
    idle.kill()
    await until(lambda: idle.status() == psutil.STATUS_ZOMBIE)
    assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]
    await renderer.close()


async def test_an_idle_child_ends_with_its_parent_however_that_dies() -> None:
    program = """
import asyncio, psutil
from tenantry.prompts.rendering import Renderer
async def main():
    renderer = Renderer()
    await renderer.render(["{{ 1 + 1 }}"], {})
    print(psutil.Process().children()[0].pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


async def test_a_cancelled_call_leaves_the_next_answer_right() -> None:
    renderer = Renderer()
    first = asyncio.create_task(renderer.render(["{{ 'first' }}"], {}))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await renderer.render(["{{ 'second' }}"], {}) == ["second"]
    await renderer.close()


def test_variables_are_counted_in_bytes() -> None:
    check_variables({"a": "é" * (MAX_VARIABLES_BYTES // 2)})
    with pytest.raises(InvalidArgument):
        check_variables({"a": "é" * (MAX_VARIABLES_BYTES // 2 + 1)})


async def test_a_busy_child_ends_soon_after_its_parent_was_killed() -> None:
    program = """
import asyncio, psutil
from tenantry.kit.children import Children
ENDLESS = "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}"
async def main():
    children = Children("tenantry.prompts.renderer", late_s=60)
    await children.ask({"templates": ["{{ 1 + 1 }}"], "variables": {}})
    (child,) = psutil.Process().children()
    before = sum(child.cpu_times()[:2])
    asyncio.create_task(children.ask({"templates": [ENDLESS], "variables": {}}))
    while sum(child.cpu_times()[:2]) < before + 0.2:
        await asyncio.sleep(0.01)
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within_s=60)
