"""Which key a command calls with."""

import json
from pathlib import Path

import pytest
import typer

from tenantry.cli import connection
from tenantry.cli.connection import connect, connect_tenant

REMOTE = "mesh.example:7700"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with an operator's and a demo tenant's key, and no other setting."""
    for name in ("TENANTRY_KEY", "TENANTRY_ADDRESS", "TENANTRY_SECRETS", "TENANTRY_EDGE_LISTEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TENANTRY_STATE", str(tmp_path))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator.key").write_text("operator\n")
    (tmp_path / "demo-keys.json").write_text(json.dumps({"acme": "acme-key"}))
    return tmp_path


def key_of(made: connection.Connection) -> str:
    return made._metadata[0][1].removeprefix("Bearer ")


def test_without_any_key_the_local_operator_calls() -> None:
    assert key_of(connect(None, None)) == "operator"


def test_a_key_that_is_given_comes_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_KEY", "environment")
    assert key_of(connect(None, "given", "acme")) == "given"
    assert key_of(connect_tenant(None, "given", "acme")) == "given"


def test_a_named_tenant_is_never_asked_with_another_tenants_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TENANTRY_KEY", "globex-key")
    assert key_of(connect_tenant(None, None, "acme")) == "acme-key"
    with pytest.raises(typer.Exit):
        connect_tenant(None, None, "initech")
    assert "there is no key of initech here" in capsys.readouterr().err


def test_an_administrator_names_a_tenant_with_the_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_KEY", "environment")
    assert key_of(connect(None, None, "initech")) == "environment"


def test_local_keys_are_not_sent_to_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    for call in (lambda: connect(REMOTE, None), lambda: connect_tenant(REMOTE, None, "acme")):
        with pytest.raises(typer.Exit):
            call()
    assert "operator" not in capsys.readouterr().err


def test_a_remote_mesh_is_called_with_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_KEY", "environment")
    assert key_of(connect(REMOTE, None, "acme")) == "environment"


@pytest.mark.parametrize("key", ["with space", "line\nbreak", "ümlaut", "\x00"])
def test_a_key_that_metadata_cannot_carry_is_refused_with_a_sentence(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        connect(None, key)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_broken_file_of_demo_keys_is_as_none(state: Path) -> None:
    (state / "demo-keys.json").write_text("{")
    assert connection.demo_keys() == {}


@pytest.mark.parametrize("address", ["[::1", "localhost:many", "localhost:99999"])
def test_what_is_no_address_is_said_in_one_sentence(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        connect(address, "given")
    assert "is no address; write it as HOST:PORT" in capsys.readouterr().err
