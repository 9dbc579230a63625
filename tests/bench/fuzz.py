"""Generated and broken requests to every RPC of whole meshes: none may be answered INTERNAL, crash, or hang.

FULL=1 sends 10^6 and goes on where it was stopped (`.bench/fuzz`); without it, as many as fit in a minute.
"""

from tests.bench.children import ROOT
from tests.bench.report import FULL, Report
from tests.harness import fuzz

INPUTS = 1_000_000 if FULL else 15_000
SEED = 1
KEPT = ROOT / ".bench" / "fuzz"


def run(*, inputs: int = INPUTS, full: bool = FULL) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    result = fuzz.run(inputs, SEED, KEPT if full else None)
    report = Report(("RPC", "inputs", "answered"))
    for name, count in sorted(result.counts.items()):
        report.row(name, str(count), str(result.answered[name]))
    report.row("all", str(result.inputs), str(sum(result.answered.values())))
    for status, count in sorted(result.statuses.items()):
        report.row(status, str(count), "")
    for kind, example in result.found.items():
        report.row(f"FOUND: {kind}: {example[:500]}", "", "")
    report.figure("inputs", result.inputs, 0)
    report.figure("per_s", result.inputs / result.seconds if result.seconds else 0.0, 1)
    report.figure("longest_pause_s", result.longest_pause_s)
    report.figure("rpcs_answered", sum(count > 0 for count in result.answered.values()), 0)
    report.figure("rpcs", len(result.counts), 0)
    report.figure("found", len(result.found), 0)
    report.goal("nothing found", not result.found)
    return report
