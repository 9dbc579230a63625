"""Drives random operations of five tenants through a whole mesh and looks for foreign marks wherever something is written.

Every tenant's questions, documents, prompts, variables and names carry marks of its own. A foreign mark (or a foreign tenant's
id) in an answer or a stored value is a leak; any mark at all is one in a log line, a span, a metric, an error or a stored key.

    run(20_000, seed=1)                       # -> Result; each part of PART operations has a mesh and a process of its own
    run(1_000_000, 1, Path(".bench/leaks"))   # goes on where it was stopped
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

PART = 10_000
# Parts at a time: each keeps a core busy.
_AT_ONCE = min(2, os.cpu_count() or 1)
_ROOT = Path(__file__).parents[2]
# A part that takes longer than this hangs.
_PART_S = 1800.0


@dataclass
class Result:
    """What was done and found. `leaks` says where, each kind of place with one example; `counts` is operations by kind."""

    operations: int = 0
    seconds: float = 0.0
    leaks: list[str] = field(default_factory=list)
    leaks_found: int = 0
    answers_with_own_mark: int = 0
    looked_at: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, part: "Result") -> None:
        """Adds what a part did and found."""
        self.operations += part.operations
        self.seconds += part.seconds
        self.leaks = [*self.leaks, *part.leaks][:100]
        self.leaks_found += part.leaks_found
        self.answers_with_own_mark += part.answers_with_own_mark
        for mine, theirs in ((self.looked_at, part.looked_at), (self.counts, part.counts)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number


def run(operations: int, seed: int, resume_file: Path | None = None) -> Result:
    """Drives so many operations, in parts; with a file, what an earlier run with the same seed did is not done again."""
    result = _read(resume_file, seed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while (left := operations - result.operations) > 0:
            sizes = [min(PART, left - begun) for begun in range(0, min(left, PART * _AT_ONCE), PART)]
            seeds = [seed * 1_000_003 + result.operations + place for place in range(len(sizes))]
            for part in pool.map(_part, sizes, seeds):
                result.add(part)
            if resume_file is not None:
                resume_file.parent.mkdir(parents=True, exist_ok=True)
                resume_file.with_suffix(".new").write_text(json.dumps({"seed": seed, **asdict(result)}))
                resume_file.with_suffix(".new").replace(resume_file)
    return result


def _read(resume_file: Path | None, seed: int) -> Result:
    if resume_file is None or not resume_file.exists():
        return Result()
    kept = json.loads(resume_file.read_text())
    return Result(**kept) if kept.pop("seed") == seed else Result()


def _part(operations: int, seed: int) -> Result:
    """One part, in a process of its own: its logs are a file, its settings its environment."""
    with tempfile.TemporaryDirectory(prefix="tenantry-leaks-") as directory:
        command: Sequence[str] = (
            *(sys.executable, "-m", "tests.harness.leaks_part"),
            *(directory, str(operations), str(seed)),
        )
        with (Path(directory) / "log").open("wb") as log:
            ended = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=log, timeout=_PART_S, check=False)
        if ended.returncode != 0:
            raise RuntimeError(
                f"a part ended with {ended.returncode}:\n{(Path(directory) / 'log').read_text()[-4000:]}"
            )
        return Result(**json.loads(ended.stdout))
