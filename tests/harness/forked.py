"""`python -m MODULE` for tests, forked from a process that has imported everything: it is ready after milliseconds, where an
interpreter takes a second of a core to import the same.

What runs is the module's own `__main__`, in a process, an environment and a folder of its own. Tests of `make run`, of
`tenantry up` and of the README start theirs as people do.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
# `__main__` is what runs the tests: multiprocessing would import it again in each process.
_SERVER.set_forkserver_preload(["__main__", "tests.harness.imported"])


class Forked:
    """A running module, with as much of `subprocess.Popen` as tests use. It ends with the process that started it."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        errors: Path,
        folder: Path | None = None,
    ) -> None:
        """`command` is a module and its arguments; `output` and `errors` are files to append to."""
        self.args = list(command)
        given = (self.args, dict(environment), str(folder or Path.cwd()), str(output), str(errors))
        self._process = _SERVER.Process(target=_run, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, or less than 0 for the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, when it has ended; `subprocess.TimeoutExpired` if it has not within so many seconds."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)


def _run(command: Sequence[str], environment: Mapping[str, str], folder: str, output: str, errors: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, output), (2, errors)):
        opened = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    module, *arguments = command
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
