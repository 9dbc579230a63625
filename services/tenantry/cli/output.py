"""What a command prints: tables and colour where a terminal is, JSON where a pipe is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.table import Table

console = Console(highlight=False)


def is_terminal() -> bool:
    """Whether a person reads it."""
    return console.is_terminal


def as_dict(message: Any) -> dict[str, Any]:
    """A message with the contract's own field names."""
    return MessageToDict(message, preserving_proto_field_name=True)


def show(message: Any) -> None:
    """One message."""
    values = as_dict(message)
    if not is_terminal():
        print(json.dumps(values))
        return
    table = Table(show_header=False, box=None)
    for name, value in values.items():
        table.add_row(f"[dim]{name}[/dim]", _cell(value))
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
        console.print(f"[dim]{name}[/dim] {value}")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return json.dumps(value)
    return str(value)
