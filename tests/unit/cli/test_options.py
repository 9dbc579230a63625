"""Options that commands share."""

import pytest
import typer

from tenantry.cli.options import duration


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("30s", 30), ("15m", 900), ("12h", 43_200), ("7d", 604_800)])
def test_a_duration_has_one_unit(text: str, seconds: int) -> None:
    assert duration(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1.5h", "1h30m", "1w", "1 d", "9" * 10 + "s"])
def test_another_text_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text)
