"""`make attack`: runs the attacks, against a mesh that it starts or against one that runs, and prints what became of each.
With `envoy` the one that it starts has Envoy at its address for clients.

python -m tests.attack cohosted | processes | HOST:PORT [envoy]   (the operator's key of the last in TENANTRY_KEY)

Exit status 1: an attack was not held. "not from outside": it needs to reach inside a mesh, so a foreign one can't be asked.
"""

import os
import sys
from collections import defaultdict
from pathlib import PurePosixPath

import pytest

from tests.attack.groups import ORDER, group_of

HELD, BROKEN, OUTSIDE, LEFT_OUT = "held", "BROKEN", "not from outside", "not run"
_FOLDER = PurePosixPath("tests/attack")


class Table:
    """Collects what became of each attack: the worst of its cases counts."""

    def __init__(self, foreign: bool) -> None:
        self._foreign = foreign
        self._seen: dict[tuple[str, str], set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Attacks that start parts of their own say nothing about a mesh that runs elsewhere."""
        for item in items:
            if self._foreign and "mesh" not in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=OUTSIDE))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each case reports its start, its call and its end."""
        file, _, name = report.nodeid.partition("::")
        group = group_of(PurePosixPath(file).relative_to(_FOLDER).as_posix()) or "without a group"
        attack = name.partition("[")[0].removeprefix("test_").replace("_", " ")
        if report.failed:
            self._seen[group, attack].add(BROKEN)
        elif report.skipped:
            self._seen[group, attack].add(OUTSIDE if self._foreign else LEFT_OUT)
        elif report.when == "call":
            self._seen[group, attack].add(HELD)

    def rows(self) -> list[tuple[str, str, str]]:
        """Group, attack and what became of it."""
        found = [
            (group, attack, next(one for one in (BROKEN, HELD, OUTSIDE, LEFT_OUT) if one in outcomes))
            for (group, attack), outcomes in self._seen.items()
        ]
        return sorted(found, key=lambda row: (ORDER.index(row[0]) if row[0] in ORDER else -1, row[1]))


def main(target: str, edge: str) -> int:
    """Runs all attacks on the target, behind the edge named, and prints the table."""
    foreign = target not in ("cohosted", "processes")
    if foreign and not os.environ.get("TENANTRY_KEY"):
        sys.exit("an operator's key of that mesh is needed in TENANTRY_KEY: the attacks make tenants of their own")
    table = Table(foreign)
    status = pytest.main(
        [str(_FOLDER), "-q", "--no-header", "--tb=short", "-p", "no:xdist", f"--mesh={target}", f"--edge={edge}"],
        [table],
    )
    rows = table.rows()
    group_width, attack_width = (max(len(row[column]) for row in rows) for column in (0, 1)) if rows else (0, 0)
    print()
    for group, attack, outcome in rows:
        print(f"{group:{group_width}}  {attack:{attack_width}}  {outcome}")
    outcomes = [outcome for _, _, outcome in rows]
    print(
        f"\n{', '.join(f'{outcomes.count(one)} {one}' for one in (HELD, BROKEN, OUTSIDE, LEFT_OUT))}  ({target}, {edge})"
    )
    return 1 if BROKEN in outcomes or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["envoy"]):
        sys.exit("usage: python -m tests.attack cohosted | processes | HOST:PORT [envoy]")
    sys.exit(main(sys.argv[1], "envoy" if sys.argv[2:] else "kit"))
