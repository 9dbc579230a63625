"""The secret file and what is derived from it."""

from pathlib import Path

import pytest

from tenantry.kit.errors import FailedPrecondition
from tenantry.tenancy.secret import Secret, make_secret, read_secret, write_private

RAW = bytes(range(32))


def test_what_was_sealed_is_opened_by_the_same_secret_and_name_alone() -> None:
    sealed = Secret(RAW).seal(b"private", "sig_1")
    assert b"private" not in sealed
    assert Secret(RAW).unseal(sealed, "sig_1") == b"private"
    for secret, name in ((Secret(RAW), "sig_2"), (Secret(RAW[::-1]), "sig_1")):
        with pytest.raises(FailedPrecondition):
            secret.unseal(sealed, name)


def test_each_use_has_a_key_of_its_own() -> None:
    secret = Secret(RAW)
    assert secret.pepper != RAW and secret.pepper == Secret(RAW).pepper != Secret(RAW[::-1]).pepper


def test_a_secret_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "tenancy.key"
    assert read_secret(path) is None
    made = make_secret(path)
    assert len(made) == 32 and make_secret(path) == made == read_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_another_length_is_no_secret(tmp_path: Path) -> None:
    write_private(tmp_path / "tenancy.key", b"short", replace=True)
    with pytest.raises(FailedPrecondition):
        read_secret(tmp_path / "tenancy.key")
