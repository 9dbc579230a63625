"""Which tests this machine can't run, and why: a marker `needs("weaviate")` and a table at the end of the run.

With TENANTRY_TEST_ALL=1 a test that was left out makes the run fail.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

_ROOT = Path(__file__).parents[2]
_PREFIX = "left out: "
_left_out: dict[str, list[str]] = defaultdict(list)


def require(tool: str) -> str:
    """Where the tool is (a binary's path or a URL); leaves the running test out if the machine has none."""
    found, reason = _look(tool)
    if found is None:
        leave_out(f"{tool}: {reason}")
    return found


def leave_out(reason: str) -> NoReturn:
    """Leave the running test out, and say why in the table."""
    pytest.skip(_PREFIX + reason)


@cache
def _look(tool: str) -> tuple[str | None, str]:
    if tool not in _TOOLS:
        raise pytest.UsageError(f"tests/harness/left_out.py does not know the tool {tool!r}")
    return _TOOLS[tool]()


def _built(binary: str, variable: str) -> Callable[[], tuple[str | None, str]]:
    def look() -> tuple[str | None, str]:
        url = os.environ.get(variable)
        path = _ROOT / ".tools" / "bin" / binary
        if url or path.exists():
            return url or str(path), ""
        return None, f"neither `make tools` was run nor {variable} set"

    return look


def _on_path(*names: str) -> Callable[[], tuple[str | None, str]]:
    def look() -> tuple[str | None, str]:
        import shutil

        found = next((path for name in names if (path := shutil.which(name))), None)
        return found, f"no {' or '.join(names)} on this machine"

    return look


def _installed(module: str) -> Callable[[], tuple[str | None, str]]:
    def look() -> tuple[str | None, str]:
        from importlib.util import find_spec

        spec = find_spec(module)
        return (spec.origin, "") if spec is not None else (None, f"no package `{module}` for this machine")

    return look


_TOOLS: dict[str, Callable[[], tuple[str | None, str]]] = {
    "weaviate": _built("weaviate-server", "TENANTRY_WEAVIATE_URL"),
    "jaeger": _built("jaeger", "TENANTRY_JAEGER_URL"),
    "redis-server": _on_path("redis-server"),
    "chromium": _on_path("chromium", "chromium-browser"),
    "go": _on_path("go"),
    "envoy": _installed("envoy"),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*tools): left out on a machine without these tools (tests/harness/left_out.py)"
    )
    _left_out.clear()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            require(tool)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Reports, not items: under xdist the tests run elsewhere, and only their reports come here.
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _left_out[reason.removeprefix("Skipped: ").removeprefix(_PREFIX)].append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _left_out and os.environ.get("TENANTRY_TEST_ALL") == "1" and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _left_out:
        return
    terminalreporter.section("left out")
    for reason, tests in sorted(_left_out.items()):
        files = sorted({test.partition("::")[0] for test in tests})
        terminalreporter.line(f"{len(tests):5}  {reason}  ({', '.join(files[:3])}{', …' if len(files) > 3 else ''})")
    if os.environ.get("TENANTRY_TEST_ALL") == "1":
        terminalreporter.line("TENANTRY_TEST_ALL=1: nothing may be left out, so this run has failed.", red=True)
