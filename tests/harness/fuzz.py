"""Sends generated and broken requests to every RPC of a whole mesh, by callers who may call it, and judges what comes back.

Found is what answers INTERNAL, UNKNOWN or UNIMPLEMENTED, says that a store is away which is not, outlives its deadline, writes
an error into the log, stands the event loop still, or ends the process.

    run(5_000, seed=1)                       # -> Result; each part of PART inputs has a mesh and a process of its own
    run(1_000_000, 1, Path(".bench/fuzz"))   # goes on where it was stopped
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

PART = 20_000
_AT_ONCE = min(2, os.cpu_count() or 1)
_ROOT = Path(__file__).parents[2]
# A part that takes longer than this hangs.
_PART_S = 3600.0


@dataclass
class Result:
    """What was sent and found. `counts` is inputs by RPC, `answered` those of them that were OK, `statuses` all by status."""

    inputs: int = 0
    seconds: float = 0.0
    longest_pause_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    def add(self, part: "Result") -> None:
        """Adds what a part did and found."""
        self.inputs += part.inputs
        self.seconds += part.seconds
        self.longest_pause_s = max(self.longest_pause_s, part.longest_pause_s)
        for mine, theirs in (
            (self.counts, part.counts),
            (self.answered, part.answered),
            (self.statuses, part.statuses),
        ):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        self.found = dict([*self.found.items(), *part.found.items()][:100])


def run(inputs: int, seed: int, resume_file: Path | None = None) -> Result:
    """Sends so many, in parts; with a file, what an earlier run with the same seed did is not done again."""
    result = _read(resume_file, seed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while (left := inputs - result.inputs) > 0:
            sizes = [min(PART, left - begun) for begun in range(0, min(left, PART * _AT_ONCE), PART)]
            seeds = [seed * 1_000_003 + result.inputs + place for place in range(len(sizes))]
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


def _part(inputs: int, seed: int) -> Result:
    """One part, in a process of its own, which an input may end: then what was under way is the finding."""
    with tempfile.TemporaryDirectory(prefix="tenantry-fuzz-") as directory:
        state = Path(directory)
        command = (sys.executable, "-m", "tests.harness.fuzz_part", directory, str(inputs), str(seed))
        with (state / "log").open("wb") as log:
            try:
                ended = subprocess.run(
                    command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=log, timeout=_PART_S, check=False
                )
                how = f"ended with {ended.returncode}"
            except subprocess.TimeoutExpired:
                ended, how = None, f"hung for {_PART_S:g} s"
        if ended is not None and ended.returncode == 0:
            return Result(**json.loads(ended.stdout))
        under_way = (state / "under-way").read_text(errors="replace") if (state / "under-way").exists() else ""
        said = (state / "log").read_text(errors="replace")[-3000:]
        return Result(inputs, found={f"the process {how} (seed {seed})": f"{under_way.strip(chr(0))}\n{said}"})
