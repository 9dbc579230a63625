"""What the environment sets."""

from pathlib import Path

import pytest

from tenantry.kit.errors import InvalidArgument
from tenantry.quota.settings import from_environment


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENANTRY_STATE", str(tmp_path))
    monkeypatch.setenv("TENANTRY_BOOKS_URL", "redis://127.0.0.1:1/0")


@pytest.mark.parametrize("name", ["TENANTRY_QUOTA_REPLICAS", "TENANTRY_QUOTA_STANDBY_S"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e999", "many"])
def test_a_number_that_no_share_or_time_has_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgument) as refused:
        from_environment()
    assert refused.value.violations[0][0] == name


@pytest.mark.parametrize("value", ["0", "0.5", "10001"])
def test_processes_that_share_limits_are_a_whole_number_of_them(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TENANTRY_QUOTA_REPLICAS", value)
    with pytest.raises(InvalidArgument):
        from_environment()


def test_no_time_without_the_books_is_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_QUOTA_STANDBY_S", "0")
    assert from_environment().standby.most_s == 0.0
