"""Each benchmark runs, as small as it can be: what is measured here means nothing, but it does not rot."""

import json
from typing import Any

import pytest

from tests.bench import echo
from tests.bench.report import Report


def printed(report: Report, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report.print()
    last: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(last["holds"], bool)
    return last


def test_echo_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(echo.run(rounds=1, seconds=1.0, most_calls=3), capsys)
    assert {f"{rpc.name}_ratio" for rpc in echo.RPCS} <= figures.keys()
