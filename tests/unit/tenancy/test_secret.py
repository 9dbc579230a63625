"""What is derived from tenancy's secret."""

import pytest

from tenantry.kit.errors import FailedPrecondition
from tenantry.tenancy.secret import Secret

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
