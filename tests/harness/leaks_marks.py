"""Marks that tell whose a text is, and where they are looked for: text, spans, logs, metrics, Redis and SQLite."""

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

# No id has a u in it (Crockford's base 32, hexadecimal), so none can look like a mark.
_MARK = re.compile(rb"uu([0-4])u[a-z]{8}")
_TENANT = re.compile(rb"tn([0-4])-[a-z]{6}")
_EXAMPLES = 3


class Marks:
    """The five tenants' ids and marks, and what was found of them where it must not be."""

    def __init__(self, random_: random.Random) -> None:
        def letters(number: int) -> str:
            return "".join(random_.choices("abcdefghijklmnopqrstuvwxyz", k=number))

        self.tenants = tuple(f"tn{place}-{letters(6)}" for place in range(5))
        self.marks = tuple(f"uu{place}u{letters(8)}" for place in range(5))
        self.looked_at: Counter[str] = Counter()
        self.leaks: Counter[str] = Counter()
        self.examples: list[str] = []

    def content(self, where: str, text: bytes | str) -> None:
        """Looks at what must hold no content, whose ever."""
        raw = text.encode(errors="replace") if isinstance(text, str) else text
        self.looked_at[where] += 1
        if found := _MARK.search(raw):
            self._leak(where, f"content of tenant {found[1].decode()}", raw, found.start())

    def owned(self, where: str, text: bytes, owner: int, *, ids: bool = True) -> bool:
        """Looks at what belongs to a tenant: foreign marks and `ids` are leaks. Whether its own mark is in it."""
        self.looked_at[where] += 1
        for found in (*_MARK.finditer(text), *(_TENANT.finditer(text) if ids else ())):
            if int(found[1]) != owner:
                self._leak(where, f"tenant {found[1].decode()}'s at tenant {owner}", text, found.start())
        return self.marks[owner].encode() in text

    def row(self, where: str, text: bytes, *, ids: bool = True) -> None:
        """Looks at a record: whatever marks and `ids` are in it must be of one tenant."""
        self.looked_at[where] += 1
        whose = {int(found[1]) for found in (*_MARK.finditer(text), *(_TENANT.finditer(text) if ids else ()))}
        if len(whose) > 1:
            self._leak(where, f"tenants {sorted(whose)} in one record", text, 0)

    def wrong(self, where: str, what: str) -> None:
        """Something that must not happen and is no mark."""
        self._leak(where, what, b"", 0)

    def owner_of(self, text: bytes) -> int | None:
        """Whose id is in a key or name."""
        found = _TENANT.search(text)
        return int(found[1]) if found else None

    def _leak(self, where: str, what: str, text: bytes, at: int) -> None:
        self.leaks[where] += 1
        if self.leaks[where] <= _EXAMPLES:
            shown = text[max(0, at - 80) : at + 80].decode(errors="replace")
            self.examples.append(f"{where}: {what}: …{shown}…")


class Watch(SpanExporter):
    """Looks at every span that is sent, and that all of a trace are of one tenant."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._whose: dict[int, str] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            attributes = dict(span.attributes or {})
            events = [(event.name, dict(event.attributes or {})) for event in span.events]
            links = [dict(link.attributes or {}) for link in span.links]
            told = repr((span.name, attributes, events, links, span.status.description))
            self._marks.content("span", told)
            self._marks.row("span", told.encode())
            tenant = attributes.get("tenantry.tenant.id")
            if tenant and span.context is not None:
                known = self._whose.setdefault(span.context.trace_id, str(tenant))
                if known != tenant:
                    self._marks.wrong("trace", f"a trace has spans of {known} and of {tenant}")
        return SpanExportResult.SUCCESS


def look_into_redis(marks: Marks, role: str, url: str, *, shared: bool) -> None:
    """Every key and every value of a Redis. Where keys are not `shared`, what holds a tenant's content bears its id."""
    client: Any = redis.Redis.from_url(url)
    try:
        for key in client.scan_iter(count=1000):
            marks.content(f"{role} key", key)
            owner = marks.owner_of(key)
            for value in _values(client, key):
                marks.row(f"{role} value", value)
                if owner is not None:
                    marks.owned(f"{role} value", value, owner)
                elif not shared:
                    marks.content(f"{role} value", value)
    finally:
        client.close()


def _values(client: Any, key: bytes) -> Iterator[bytes]:
    kind = client.type(key)
    match kind:
        case b"string":
            yield client.get(key) or b""
        case b"hash":
            for name, value in client.hscan_iter(key):
                yield name + b" " + value
        case b"set":
            yield from client.sscan_iter(key)
        case b"zset":
            for member, _ in client.zscan_iter(key):
                yield member
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"stream":
            for number, fields in client.xrange(key):
                yield number + b" " + b" ".join(name + b"=" + value for name, value in fields.items())
        case _:
            raise AssertionError(f"a key of the type {kind!r} is not looked into")


def look_into_sqlite(marks: Marks, folder: Path) -> None:
    """Every record of every service, and the raw bytes of each tenant's document file."""
    for path in sorted((folder / "sql").glob("*.db")):
        for table, row in _rows(path):
            # A tenant's audit says which others it named in vain.
            marks.row(f"{path.name} {table}", row, ids="audit" not in table)
    for path in sorted((folder / "documents").rglob("*")):
        if path.is_file():
            owner = marks.owner_of(path.name.encode())
            if owner is None:
                marks.content("document file of nobody", path.read_bytes())
            else:
                marks.owned("document file", path.read_bytes(), owner)


def _rows(path: Path) -> Iterable[tuple[str, bytes]]:
    with sqlite3.connect(path) as connection:
        connection.text_factory = bytes
        tables = [
            name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield table, b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    connection.close()
