"""Random operations of five tenants through whole meshes, and foreign marks looked for wherever something is written.

A status that nothing explains (`status: …`) counts as found too: it may hide what would have been in the answer.
FULL=1 drives 10^6 operations and goes on where it was stopped (`.bench/leaks`); without it, as many as fit in a minute.
"""

from tests.bench.children import ROOT
from tests.bench.report import FULL, Report
from tests.harness import leaks

OPERATIONS = 1_000_000 if FULL else 3_000
SEED = 1
KEPT = ROOT / ".bench" / "leaks"


def run(*, operations: int = OPERATIONS, full: bool = FULL) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    result = leaks.run(operations, SEED, KEPT if full else None)
    report = Report(("operation", "done"))
    for name, count in sorted(result.counts.items()):
        report.row(name, str(count))
    report.row("all", str(result.operations))
    for name, count in sorted(result.looked_at.items()):
        report.row(f"looked at: {name}", str(count))
    report.row("found", str(result.leaks_found))
    for found in result.leaks:
        report.row(f"LEAK: {found}", "")
    report.figure("operations", result.operations, 0)
    report.figure("per_s", result.operations / result.seconds if result.seconds else 0.0, 1)
    report.figure("answers_with_own_mark", result.answers_with_own_mark, 0)
    report.figure("found", result.leaks_found, 0)
    report.goal("nothing found", result.leaks_found == 0 and result.answers_with_own_mark > 0)
    return report
