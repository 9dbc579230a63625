"""Receipts and the secret that signs them."""

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.errors import FailedPrecondition, PermissionDenied
from tenantry.kit.key_file import read_or_make
from tenantry.quota import receipts
from tenantry.quota.receipts import Receipt

SECRET = b"s" * 32
RECEIPT = Receipt("res_1", "acme-org", "acme", "key_1", "ann", "gpt", 300, 1_700_000_000_000_000)


def test_a_receipt_that_quota_gave_is_accepted_with_and_without_a_caller() -> None:
    mac = receipts.mac_of(RECEIPT, SECRET)
    receipts.check(RECEIPT, mac, SECRET, "acme")
    receipts.check(RECEIPT, mac, SECRET, "")


@pytest.mark.parametrize("field", [field.name for field in fields(Receipt)])
def test_a_change_of_any_field_is_refused(field: str) -> None:
    value = getattr(RECEIPT, field)
    forged = replace(RECEIPT, **{field: value + 1 if isinstance(value, int) else value + "x"})
    with pytest.raises(PermissionDenied):
        receipts.check(forged, receipts.mac_of(RECEIPT, SECRET), SECRET, "")


@pytest.mark.parametrize("mac", [b"", b"\0" * 32, b"\0" * 31])
def test_a_mac_of_another_secret_or_length_is_refused(mac: bytes) -> None:
    with pytest.raises(PermissionDenied):
        receipts.check(RECEIPT, mac or receipts.mac_of(RECEIPT, b"t" * 32), SECRET, "")


_texts = st.text(alphabet="ab:1", max_size=4)
_receipts = st.builds(Receipt, _texts, _texts, _texts, _texts, _texts, _texts, st.integers(0, 20), st.integers(0, 20))


@given(_receipts, _receipts)
def test_no_two_receipts_share_a_mac(first: Receipt, second: Receipt) -> None:
    assert (receipts.mac_of(first, SECRET) == receipts.mac_of(second, SECRET)) == (first == second)


def test_the_secret_is_made_once_for_all_who_start_together_and_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "quota.key"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: read_or_make(path), range(32)))
    assert len(found) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["quota.key"]


def test_a_file_that_holds_no_secret_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "quota.key"
    path.write_bytes(b"short")
    with pytest.raises(FailedPrecondition):
        read_or_make(path)
    assert path.read_bytes() == b"short"
