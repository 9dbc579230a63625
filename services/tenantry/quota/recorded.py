"""Recorded requests as a simulation takes them: lines of CSV, and one trace split over tenants.

    time,tenant,input,output                    seconds, or times in ISO 8601; tokens read and written
    TIMESTAMP,ContextTokens,GeneratedTokens     as Azure publishes them: of nobody, to be split

Columns are found by their names, in any order; others are passed over.
"""

import csv
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tenantry.quota.gcra import MOST_AMOUNT
from tenantry.quota.simulation import Arrival

MOST_REQUESTS = 1_000_000
MOST_WRONG = 20
# From the first request on.
MOST_S = 366 * 86_400
_LONGEST_NAME = 63
_NAMES = {
    "time": ("time", "timestamp"),
    "tenant": ("tenant",),
    "input": ("input", "contexttokens"),
    "output": ("output", "generatedtokens"),
}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A line that is no request, and why."""

    line: int
    reason: str


def read(lines: Iterable[str]) -> tuple[list[Arrival], list[Wrong]]:
    """The requests by time, the first at 0 s, without a tenant ("") where no column names it; and what is wrong, at most so
    much of it: then reading ends."""
    rows = csv.reader(lines)
    arrivals: list[tuple[int, Arrival]] = []
    wrong: list[Wrong] = []
    columns: dict[str, int] | None = None
    while len(wrong) < MOST_WRONG:
        try:
            cells = next(rows, None)
            if cells is None:
                break
            if columns is None:
                columns = _columns(cells)
            elif len(arrivals) == MOST_REQUESTS:
                raise ValueError(f"is one more than {MOST_REQUESTS:,} requests")
            elif cells:
                arrivals.append((rows.line_num, _arrival(cells, columns)))
        except UnicodeError:
            raise
        except (ValueError, csv.Error) as error:
            wrong.append(Wrong(rows.line_num, str(error)))
            if columns is None or len(arrivals) == MOST_REQUESTS:
                break
    if not arrivals and not wrong:
        wrong = [Wrong(max(1, rows.line_num), "is the end already: there is no request")]
    return _from_the_first(arrivals, wrong)


def split(arrivals: Sequence[Arrival], tenants: int, seed: int) -> list[Arrival]:
    """The same arrivals, each given to a tenant by Zipf's law: tenant n is n times as rare as the first."""
    dice = random.Random(seed)
    names = [f"t{number:02}" for number in range(1, tenants + 1)]
    chosen = dice.choices(names, [1 / number for number in range(1, tenants + 1)], k=len(arrivals))
    return [replace(arrival, tenant=tenant) for arrival, tenant in zip(arrivals, chosen, strict=True)]


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Where each column is."""
    places = {name.strip().lstrip("\ufeff").lower(): place for place, name in enumerate(header)}
    found = {column: places[name] for column, names in _NAMES.items() for name in names if name in places}
    if missing := [column for column in _NAMES if column not in found and column != "tenant"]:
        raise ValueError(f"names no column `{missing[0]}`: the first line is time,tenant,input,output")
    return found


def _arrival(cells: Sequence[str], columns: dict[str, int]) -> Arrival:
    if len(cells) <= max(columns.values()):
        raise ValueError(f"has {len(cells)} cells, not {max(columns.values()) + 1}")
    given = {column: cells[place].strip() for column, place in columns.items()}
    tenant = given.get("tenant", "")
    if "tenant" in given and not (0 < len(tenant) <= _LONGEST_NAME and tenant.isprintable()):
        raise ValueError(f"tenant is not 1 to {_LONGEST_NAME} printable characters")
    return Arrival(_time(given["time"]), tenant, _tokens("input", given["input"]), _tokens("output", given["output"]))


def _time(text: str) -> float:
    try:
        at_s = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("time is neither seconds nor a time in ISO 8601") from None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(at_s):
        raise ValueError("time is no finite number of seconds")
    return at_s


def _tokens(column: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= MOST_AMOUNT):
        raise ValueError(f"{column} is no whole number of tokens within 0 and {MOST_AMOUNT:,}")
    return int(text)


def _from_the_first(arrivals: list[tuple[int, Arrival]], wrong: list[Wrong]) -> tuple[list[Arrival], list[Wrong]]:
    first = min((arrival.at_s for _, arrival in arrivals), default=0.0)
    late = [
        Wrong(line, f"time is more than {MOST_S // 86_400} days after the first")
        for line, arrival in arrivals
        if arrival.at_s - first > MOST_S
    ]
    moved = sorted(replace(arrival, at_s=arrival.at_s - first) for _, arrival in arrivals)
    return moved, sorted([*wrong, *late], key=lambda one: one.line)[:MOST_WRONG]
