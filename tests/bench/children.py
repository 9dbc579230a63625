"""Processes that a benchmark measures: started like an operator's, told to stop by closing their standard input."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Ours, but with bytecode caches: without them a process starts slowly and is larger."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def child(module: str, *arguments: str, log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Runs `python -m module` while the block runs; gives its pid and the JSON line that it prints when it is ready."""
    command = [sys.executable, "-m", module, *arguments]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, env=environment(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} {arguments} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield process.pid, json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
