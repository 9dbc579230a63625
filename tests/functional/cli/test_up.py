"""`tenantry up`: what stands in its way is said, and whatever ends it ends its processes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.functional.cli.command import Command
from tests.harness.operator import Workplace, workplace
from tests.harness.poll import until

_STARTS_WITHIN_S = 100.0
_ENDS_WITHIN_S = 30.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    """A folder and ports of this test's own, in which nothing is left running."""
    own = workplace(tmp_path)
    yield own
    assert own.processes() == []


def command_in(place: Workplace, **environment: str) -> Command:
    return Command(place.environment | environment, place.folder)


@contextmanager
def going_up(place: Workplace, *options: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`tenantry up` while the block runs."""
    arguments = [sys.executable, "-m", "tenantry.cli", "up", *options]
    with (place.folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, cwd=place.folder, env=place.environment | environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_ENDS_WITHIN_S)
        finally:
            process.kill()
            process.wait()


def said(place: Workplace) -> str:
    return (place.folder / "up.log").read_text()


@pytest.mark.timeout(240)
async def test_a_second_one_is_refused_and_a_killed_one_leaves_no_process(place: Workplace) -> None:
    with going_up(place) as process:
        await until(lambda: "ready_after_s" in said(place), _STARTS_WITHIN_S, 0.1, "up is ready")
        assert len(place.processes()) == 4
        second = command_in(place)("up")
        assert second.status == 1 and "running already" in second.err and second.err.count("\n") == 1
        assert command_in(place)("doctor").status == 0
        process.kill()
        await until(lambda: place.processes() == [], _ENDS_WITHIN_S, 0.1, "every process has ended")


@pytest.mark.timeout(240)
@pytest.mark.needs("envoy")
async def test_with_envoy_it_answers_at_the_same_address_and_ends_with_all_its_processes(place: Workplace) -> None:
    with going_up(place, "--edge") as process:
        await until(lambda: "ready_after_s" in said(place), _STARTS_WITHIN_S, 0.1, "up is ready")
        assert sum("envoy.yaml" in command for command in place.processes()) == 1
        assert command_in(place)("doctor").status == 0
        process.terminate()
        assert process.wait(_ENDS_WITHIN_S) == 0


@pytest.mark.timeout(240)
async def test_the_death_of_one_process_ends_the_others_and_names_its_log(place: Workplace) -> None:
    with going_up(place) as process:
        await until(lambda: "ready_after_s" in said(place), _STARTS_WITHIN_S, 0.1, "up is ready")
        os.kill(pid_of_books(place), signal.SIGKILL)
        await until(lambda: process.poll() is not None, _ENDS_WITHIN_S, 0.1, "up has ended")
    assert process.returncode == 1
    last = said(place).splitlines()[-1]
    assert "status -9" in last and str(place.folder / ".tenantry" / "logs") in last
    assert "Traceback" not in said(place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_during_the_start_ends_all_in_order(place: Workplace, number: signal.Signals) -> None:
    with going_up(place) as process:
        logs = place.folder / ".tenantry" / "logs"
        await until((logs / "valkey-books.log").exists, _STARTS_WITHIN_S, 0.01, "the first process is started")
        process.send_signal(number)
        assert process.wait(_ENDS_WITHIN_S) == 0
    assert "Traceback" not in said(place)


@pytest.mark.parametrize("variable", ["TENANTRY_EDGE_LISTEN", "TENANTRY_TENANCY_ADDRESS"])
def test_a_port_that_is_taken_is_said_at_once(place: Workplace, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = command_in(place, **{variable: f"127.0.0.1:{port}"})("up")
    assert done.status == 1 and str(port) in done.err and "taken" in done.err and done.err.count("\n") == 1


def test_a_process_that_does_not_start_is_named_with_its_last_words_and_its_log(place: Workplace) -> None:
    broken = place.folder / ".tenantry" / "sql" / "prompts.db"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no database at all" * 1000)
    done = command_in(place)("up")
    log = place.folder / ".tenantry" / "logs" / "tenantry.log"
    assert done.status == 1 and str(log) in done.err and done.err.count("\n") == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith("tenantry: ") and last in done.err


@pytest.mark.parametrize("line", ["up", "init"])
def test_a_state_directory_that_cannot_be_made_is_said(place: Workplace, line: str) -> None:
    (place.folder / "file").write_text("")
    done = command_in(place, TENANTRY_STATE=str(place.folder / "file" / "state"))(line)
    assert done.status == 1 and "file" in done.err and done.err.count("\n") == 1, done


def test_init_makes_what_is_missing_and_leaves_the_rest(place: Workplace) -> None:
    first, second = command_in(place)("init").json(), command_in(place)("init").json()
    assert (first["operator_key"], second["operator_key"]) == ("made now", "was there")
    assert Path(first["file"]).stat().st_mode & 0o077 == 0


def pid_of_books(place: Workplace) -> int:
    """The process of this workplace's books."""
    books = str(place.folder / ".tenantry" / "valkey" / "books")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str((entry / "cwd").readlink()) == books:
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("no books run")
