"""The command itself: what it loads, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tenantry.cli import app
from tenantry.cli.doctor import private
from tenantry.cli.options import variables
from tenantry.cli.refusals import told
from tenantry.kit.errors import FailedPrecondition, Reason


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_command_alone_loads_neither_grpc_nor_rich_nor_asyncio() -> None:
    assert not {"grpc", "rich", "asyncio", "sqlalchemy"} & loaded_by("import tenantry.cli.app")


def test_ask_loads_nothing_of_the_services() -> None:
    loaded = loaded_by("import tenantry.cli.app, tenantry.cli.ask")
    services = {
        name for name in loaded if name.startswith("tenantry.") and name.split(".")[1] not in ("cli", "kit", "api")
    }
    assert not services and not {"sqlalchemy", "cryptography", "numpy", "grpc_status"} & loaded


def test_every_subcommand_is_found_and_has_a_help_text() -> None:
    group = typer.main.get_command(app.app)
    for name in app.COMMANDS:
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        assert command.help and command.name == name


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (PermissionError(13, "Permission denied", "/etc/x"), "/etc/x: Permission denied"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "no text in UTF-8"),
        (FailedPrecondition(Reason.STORE_UNFIT, "the secret file is missing"), "the secret file is missing"),
        (KeyError("surprise"), "a fault of the command itself (KeyError"),
    ],
)
def test_whatever_goes_wrong_is_a_sentence(
    fault: Exception, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert what in told(fault)[0] and told(fault)[1]


def test_a_variable_keeps_equal_signs_in_its_value() -> None:
    assert variables(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in ("a", "=x"):
        with pytest.raises(typer.BadParameter):
            variables([wrong])


def test_doctor_names_secrets_that_others_can_read(tmp_path: Path) -> None:
    for name, mode in (("shut", 0o600), ("open", 0o644)):
        (tmp_path / name).touch(mode)
        (tmp_path / name).chmod(mode)
    assert private(tmp_path, "secrets").next_step == "make open readable by you alone: chmod 600"
    assert private(tmp_path / "absent", "secrets").next_step == "run `tenantry init`"
