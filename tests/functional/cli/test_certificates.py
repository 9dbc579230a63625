"""`tenantry certificates`: a development CA and what is of it, made once, renewed in time."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tenantry.cli.certificates import NAMES, issue
from tenantry.cli.development_ca import DevelopmentCa
from tenantry.kit.certificate import AUTHORITIES, ends_at, read
from tenantry.kit.errors import FailedPrecondition
from tenantry.kit.peer import PROBE, host_name, spiffe_id
from tenantry.kit.settings import SERVICES
from tests.functional.cli.command import Command
from tests.harness.ports import free_port


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command with a state directory of its own, in which nothing is yet."""
    nowhere = {f"TENANTRY_{name}": f"redis://127.0.0.1:{free_port()}/0" for name in ("BOOKS_URL", "CACHE_URL")}
    return Command({**os.environ, **nowhere, "TENANTRY_STATE": str(tmp_path / "state")}, tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All certificates, as the command makes them in that state directory."""
    monkeypatch.setenv("TENANTRY_STATE", str(tmp_path / "state"))
    made = tmp_path / "state" / "tls"
    issue(made)
    return made


def ca_key(folder: Path) -> Path:
    return folder.parent / "secrets" / "development-ca.key"


def put(folder: Path, name: str, ends: datetime | None, ca: DevelopmentCa | None = None) -> None:
    """Another certificate in the place of what the command made."""
    own = ca or DevelopmentCa((folder / AUTHORITIES).read_bytes(), ca_key(folder).read_bytes())
    chain, key = own.issue(spiffe_id(name), host_name(name), ends)
    (folder / f"{name}.pem").write_bytes(chain)
    (folder / f"{name}.key").write_bytes(key)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_service_gets_one_that_fits_and_nobody_else_may_read_the_keys(command: Command, tmp_path: Path) -> None:
    done = command("certificates").json()
    folder = tmp_path / "state" / "tls"
    assert done["folder"] == str(folder) and done["days"] == 90 and "TENANTRY_TLS" in done["next"]
    for name in (*SERVICES, "edge", PROBE):
        left = ends_at(read(folder, name).chain) - datetime.now(UTC)
        assert timedelta(days=89) < left <= timedelta(days=90)
    assert not [path for path in (*folder.iterdir(), ca_key(folder)) if path.stat().st_mode & 0o077]
    # Whoever gets the folder of certificates gets no means to make more.
    assert ca_key(folder).read_bytes() not in contents(folder).values()


def test_again_it_changes_nothing_and_renew_makes_all_anew_of_the_same_ca(folder: Path) -> None:
    first = contents(folder)
    assert issue(folder) == [] and contents(folder) == first
    assert issue(folder, renew=True) == list(NAMES)
    assert [name for name, now in contents(folder).items() if now == first[name]] == [AUTHORITIES]


def test_what_is_missing_is_of_another_ca_or_ends_soon_is_made_anew(folder: Path) -> None:
    (folder / "cache.pem").unlink()
    put(folder, "quota", datetime.now(UTC) + timedelta(days=29))
    put(folder, "prompts", datetime.now(UTC) + timedelta(days=31))
    put(folder, "models", None, DevelopmentCa.made())
    assert issue(folder) == ["quota", "cache", "models"]


def test_a_ca_whose_key_is_elsewhere_is_left_alone(folder: Path) -> None:
    ca_key(folder).unlink()
    first = contents(folder)
    assert issue(folder) == []
    with pytest.raises(FailedPrecondition, match=r"ca\.pem"):
        issue(folder, renew=True)
    assert contents(folder) == first


def test_doctor_tells_when_certificates_end(command: Command, folder: Path) -> None:
    put(folder, "quota", datetime.now(UTC) + timedelta(days=5, hours=1))
    put(folder, "cache", datetime.now(UTC))
    (folder / "models.pem").unlink()
    found = command.within(TENANTRY_TLS=str(folder))("doctor").lines()
    told = {one["what"]: one for one in found if one["what"].startswith("the certificate of")}
    assert len(told) == len(NAMES)
    ill = [what for what, one in told.items() if not one["well"]]
    assert [what.split()[3] for what in ill] == ["quota", "cache", "models"]
    assert "ends in 5 days" in ill[0] and "has ended" in ill[1] and "is missing" in ill[2]
    assert "tenantry certificates" in told[ill[0]]["next_step"]
    assert not [one for one in command("doctor").lines() if "certificate" in one["what"]]


def test_a_service_with_an_unfit_folder_ends_with_a_sentence(command: Command, tmp_path: Path) -> None:
    own = {"TENANTRY_TLS": str(tmp_path / "none"), "TENANTRY_LISTEN": f"127.0.0.1:{free_port()}"}
    done = command.within(**own)("serve prompts")
    assert done.status == 1 and "tenantry certificates" in done.err.splitlines()[-1]
