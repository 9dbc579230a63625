"""What a benchmark prints: a table for people, then one line of JSON with the figures and whether all goals hold."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FULL = os.environ.get("FULL", "") == "1"


@dataclass
class Report:
    """Rows as they come, figures by name, and the goals with what was reached."""

    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list[Sequence[str]])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    goals: dict[str, bool] = field(default_factory=dict[str, bool])

    def row(self, *cells: str) -> None:
        self.rows.append(cells)

    def figure(self, name: str, value: float, digits: int = 3) -> None:
        self.figures[name] = round(value, digits)

    def goal(self, name: str, met: bool) -> None:
        self.goals[name] = met

    def print(self) -> None:
        table = [self.columns, *self.rows]
        widths = [max(len(row[place]) for row in table) for place in range(len(self.columns))]
        for row in table:
            first, *others = zip(row, widths, strict=True)
            print("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))
        missed = [name for name, met in self.goals.items() if not met]
        print("\nall goals hold" if not missed else f"\nmissed: {', '.join(missed)}")
        print(json.dumps({**self.figures, "goals": self.goals, "holds": not missed}), flush=True)
