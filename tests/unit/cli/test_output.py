"""What is printed: nothing of others' text is obeyed by the terminal, and pipes get JSON."""

import io
import json

import pytest
from rich.console import Console

from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.cli import output

EVIL = "a\x1b]0;owned\x07b[/nonsense][red]c\u202ed\r:warning:"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal 200 wide without colours."""
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, color_system=None, width=200, emoji=False, highlight=False)
    monkeypatch.setattr(output, "console", terminal)
    return written


def test_control_characters_are_shown_not_obeyed() -> None:
    assert output.clean("a\x1b[2Jb\x07\x9b\u202e") == "a\ufffd[2Jb\ufffd\ufffd\ufffd"
    assert output.clean("tab\tand\nline, ü › ✓") == "tab\tand\nline, ü › ✓"


def test_a_table_shows_markup_of_others_as_it_is_written(screen: io.StringIO) -> None:
    output.show_all([pb.Passage(document="x", text=EVIL)], ("document", "text"))
    shown = screen.getvalue()
    assert "[/nonsense][red]c" in shown and ":warning:" in shown
    assert not {"\x07", "\u202e", "\r"} & set(shown) and "\x1b]" not in shown


def test_one_message_and_a_note_show_markup_as_it_is_written(screen: io.StringIO) -> None:
    output.show(pb.Document(title=EVIL))
    output.note(file="/tmp/[/x]/y")
    assert "[/nonsense]" in screen.getvalue() and "/tmp/[/x]/y" in screen.getvalue()


def test_a_terminal_gets_no_empty_fields(screen: io.StringIO) -> None:
    output.show(pb.Document(document="only"))
    assert "only" in screen.getvalue() and "title" not in screen.getvalue()


def test_a_pipe_gets_json_with_the_contracts_names_and_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(limit_pb.GetQuotaUsageResponse(requests_available=3))
    output.show_all([pb.Document(document="a"), pb.Document(document="b")], ("document",))
    output.note(created=1)
    first, *others = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["requests_available"] == "3" and first["requests_running"] == "0"
    assert [one.get("document") for one in others] == ["a", "b", None] and others[2] == {"created": 1}
