"""The table of tests that were left out, seen from outside: pytest runs in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = """
from pathlib import Path

import pytest
from tests.harness import left_out
from tests.harness.left_out import leave_out, require

left_out._ROOT = Path("a machine where nobody ran make tools")

@pytest.mark.needs("weaviate")
def test_marked(): ...

def test_that_asks():
    require("weaviate")

@pytest.fixture
def store():
    leave_out("no such store here")

def test_with_a_fixture(store): ...

def test_that_runs(): ...
"""


def run(folder: Path, tests: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "tests.harness.left_out", "--strict-markers", "-c", os.devnull]
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [*command, f"--rootdir={folder}", *options, str(folder)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["one process", "xdist"])
def test_the_table_tells_what_was_left_out_and_why(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, TESTS, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "    1  no such store here  (test_some.py)" in done.stdout
    assert "    2  weaviate: neither `make tools` was run nor TENANTRY_WEAVIATE_URL set" in done.stdout


def test_a_run_of_everything_fails_when_something_was_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS, TENANTRY_TEST_ALL="1")
    assert done.returncode == 1
    assert "nothing may be left out" in done.stdout


def test_a_run_of_everything_passes_when_nothing_was_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_that_runs(): ...", TENANTRY_TEST_ALL="1")
    assert done.returncode == 0 and "left out" not in done.stdout


def test_a_tool_that_is_there_is_found(tmp_path: Path) -> None:
    tests = "from tests.harness.left_out import require\ndef test(): assert require('weaviate') == 'http://w'"
    assert run(tmp_path, tests, TENANTRY_WEAVIATE_URL="http://w").returncode == 0


def test_an_unknown_tool_is_an_error_not_a_test_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\n@pytest.mark.needs('weaviat')\ndef test(): ...")
    assert done.returncode != 0 and "does not know the tool 'weaviat'" in done.stdout
