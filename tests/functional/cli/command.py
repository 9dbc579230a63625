"""The command as a person runs it: a process of its own, in a pipe or on a terminal."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.harness.forked import Forked

_WITHIN_S = 60.0
_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its exit status, and what it wrote."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON object that it printed."""
        (line,) = self.lines()
        return line

    def lines(self) -> list[Any]:
        """The JSON objects that it printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class Command:
    """`tenantry` in an environment, in a folder."""

    environment: dict[str, str]
    folder: Path

    def __call__(self, line: str, *more: str) -> Done:
        """Runs it in a pipe. `more` are arguments that are no text for a shell."""
        with tempfile.TemporaryDirectory() as directory:
            out, err = Path(directory) / "out", Path(directory) / "err"
            process = Forked(self.arguments(line, *more)[2:], self.environment, out, err, self.folder)
            try:
                status = process.wait(_WITHIN_S)
            finally:
                process.kill()
            return _checked(Done(status, out.read_text(), err.read_text()))

    def on_terminal(self, line: str, *more: str, errors_too: bool = False) -> Done:
        """Runs it on a terminal of 120 columns, `errors_too` when its stderr is one; what it wrote is given without colours."""
        ours, its = pty.openpty()
        environment = self.environment | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}
        process = subprocess.Popen(
            self.arguments(line, *more),
            cwd=self.folder,
            env=environment,
            stdin=its,
            stdout=its,
            stderr=its if errors_too else subprocess.PIPE,
        )
        os.close(its)
        shown = b""
        try:
            while part := _read(ours):
                shown += part
            _, err = process.communicate(timeout=_WITHIN_S)
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        text = _STYLE.sub("", shown.decode()).replace("\r\n", "\n")
        return _checked(Done(process.returncode, text, (err or b"").decode()))

    def arguments(self, line: str, *more: str) -> list[str]:
        """The words of a command line."""
        return [sys.executable, "-m", "tenantry.cli", *shlex.split(line), *more]

    def within(self, **environment: str) -> "Command":
        """The same with other settings."""
        return replace(self, environment=self.environment | environment)

    def file(self, name: str, content: str | bytes) -> Path:
        """A file in its folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side has gone
        return b""


def _checked(done: Done) -> Done:
    assert "Traceback" not in done.err + done.out, done
    assert done.status == 0 or (done.err + done.out).strip(), "it failed and said nothing"
    return done
