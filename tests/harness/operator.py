"""The operator's own way to a mesh, for tests: `make run` and `tenantry up` in a folder and on ports of their own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenantry.kit.settings import SERVICES
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]
_ANSWERS_WITHIN_S = 120.0
_ENDS_WITHIN_S = 60.0


@dataclass
class Workplace:
    """A folder that looks like the checkout, with a state of its own and an environment of free ports."""

    folder: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        """The clients' address."""
        return self.environment["TENANTRY_EDGE_LISTEN"]

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """A shell command in the folder, with the environment activated."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f". .venv/bin/activate; {command}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN_S,
            check=False,
        )

    def serves(self, command: str) -> bool:
        """Whether the command begins to serve, at addresses of its own, and ends well at SIGTERM."""
        own = {"TENANTRY_LISTEN": f"127.0.0.1:{free_port()}", "TENANTRY_EDGE_LISTEN": f"127.0.0.1:{free_port()}"}
        process = subprocess.Popen(
            ["bash", "-c", f". .venv/bin/activate; exec {command}"],
            cwd=self.folder,
            env=self.environment | own,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process, contextlib.ExitStack() as at_end:
            at_end.callback(process.kill)
            assert process.stderr is not None
            serving = any('"message": "serving ' in line for line in process.stderr)
            process.terminate()
            process.stderr.read()
            return serving and process.wait(_ENDS_WITHIN_S) == 0

    def processes(self) -> list[str]:
        """The command lines of what still runs with this workplace's state."""
        found: list[str] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes()
                folder = (entry / "cwd").readlink()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            state = self.environment["TENANTRY_STATE"]
            # Valkey writes its title over its environment; its folder is in the state directory.
            if command and (f"TENANTRY_STATE={state}".encode() in environment or folder.is_relative_to(state)):
                found.append(command)
        return found


def workplace(folder: Path) -> Workplace:
    """The checkout's files, linked, so that commands run as they are written and leave nothing behind."""
    for path in ROOT.iterdir():
        if path.name not in (".git", ".tenantry"):
            (folder / path.name).symlink_to(path)
    ports = {f"TENANTRY_{name.upper()}_ADDRESS": f"127.0.0.1:{free_port()}" for name in SERVICES}
    own = {
        "TENANTRY_STATE": str(folder / ".tenantry"),
        "TENANTRY_EDGE_LISTEN": f"127.0.0.1:{free_port()}",
        "TENANTRY_EDGE_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
        "TENANTRY_BOOKS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "TENANTRY_CACHE_URL": f"redis://127.0.0.1:{free_port()}/0",
        **ports,
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not re.match("TENANTRY_|MAKE|MFLAGS|(ARGS|FILTER|TOPOLOGY|WORKERS)$", name)
    }
    return Workplace(folder, inherited | own)


@contextmanager
def going(place: Workplace, command: Sequence[str]) -> Generator[list[dict[str, object]]]:
    """Runs the command until it has printed both demo answers, gives its JSON lines, and ends it with Ctrl-C."""
    log = place.folder / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=place.folder, env=place.environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _ANSWERS_WITHIN_S
        while "first_answers_after_s" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
