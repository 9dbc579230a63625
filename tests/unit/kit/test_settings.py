"""A setting that is not well-formed ends a start in one sentence that names it, and shows no password."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenantry.kit import redis
from tenantry.kit.errors import FailedPrecondition, InvalidArgument
from tenantry.kit.settings import mesh_settings
from tenantry.kit.sql import Database


def test_a_setting_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_TRACE_RATIO", "often")
    with pytest.raises(InvalidArgument) as refused:
        mesh_settings("quota")
    assert "TENANTRY_TRACE_RATIO: is not a number" in refused.value.message


def test_an_empty_setting_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_TRACE_RATIO", "")
    assert mesh_settings("quota").trace_ratio == 1


@pytest.mark.parametrize("url", ["http://u:CANARY@h", "redis://h:CANARY", "CANARY"])
def test_an_address_of_redis_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        redis.connect(url, store="books")
    assert "redis://" in refused.value.message and "CANARY" not in refused.value.message


@pytest.mark.parametrize("url", ["CANARY", "mysql://u:CANARY@h/d", "postgresql://u:p@h:CANARY/d"])
def test_an_address_of_sql_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        Database(url, "quota")
    assert "postgresql://" in refused.value.message and "CANARY" not in refused.value.message


def test_a_service_that_cannot_start_says_why_in_a_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "TENANTRY_STATE": str(tmp_path), "TENANTRY_TRACE_RATIO": "often"}
    ended = subprocess.run(
        [sys.executable, "-m", "tenantry.quota"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "tenantry: TENANTRY_TRACE_RATIO: is not a number; correct it, or leave it unset"
    ]
