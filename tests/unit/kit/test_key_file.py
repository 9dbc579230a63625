"""Files with secrets."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenantry.kit.errors import FailedPrecondition
from tenantry.kit.key_file import read, read_or_make
from tenantry.kit.private_file import write_private


def test_a_secret_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "some.key"
    assert read(path) is None
    made = read_or_make(path)
    assert len(made) == 32 and read_or_make(path) == made == read(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_all_who_start_at_once_have_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: read_or_make(tmp_path / "some.key"), range(40)))) == 1


def test_a_file_of_another_length_is_no_secret(tmp_path: Path) -> None:
    write_private(tmp_path / "some.key", b"short", replace=True)
    for call in (read, read_or_make):
        with pytest.raises(FailedPrecondition):
            call(tmp_path / "some.key")


def test_a_private_file_is_replaced_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("readable by all")
    write_private(path, b"new", replace=False)
    assert path.read_text() == "readable by all"
    write_private(path, b"new", replace=True)
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600
