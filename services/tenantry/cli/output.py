"""What a command prints: tables and colour where a terminal is, JSON where a pipe is."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, emoji=False)
# What a terminal would obey rather than show: control characters but tab and line feed, and those that turn text round.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def is_terminal() -> bool:
    """Whether a person reads it."""
    return console.is_terminal


def clean(text: str) -> str:
    """Others' text without what a terminal obeys. Print it as Text or with markup=False: brackets are no markup."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)


def as_dict(message: Any) -> dict[str, Any]:
    """A message with the contract's own field names, zeros and empty texts too."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def show(message: Any) -> None:
    """One message."""
    values = as_dict(message)
    if not is_terminal():
        print(json.dumps(values))
        return
    table = Table(show_header=False, box=None)
    for name, value in values.items():
        if value not in ("", [], {}):
            table.add_row(Text(name, "dim"), _cell(value))
    console.print(table)


def show_all(messages: Iterable[Any], columns: Sequence[str]) -> None:
    """Messages as a table with these fields, or a JSON line each."""
    if not is_terminal():
        for message in messages:
            print(json.dumps(as_dict(message)))
        return
    table = Table(*columns, box=None, header_style="bold")
    for message in messages:
        values = as_dict(message)
        table.add_row(*(_cell(values.get(column, "")) for column in columns))
    console.print(table)


def note(**values: Any) -> None:
    """A few values, such as what was made."""
    if not is_terminal():
        print(json.dumps(values))
        return
    for name, value in values.items():
        console.print(Text.assemble((name, "dim"), " ", _cell(value)), soft_wrap=True)


def _cell(value: Any) -> Text:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):  # pyright: ignore[reportUnknownVariableType]
        return Text(clean(", ".join(value)))  # pyright: ignore[reportUnknownArgumentType]
    return Text(clean(json.dumps(value) if isinstance(value, Mapping | list) else str(value)))
