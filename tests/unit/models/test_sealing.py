"""Sealed credentials: only the right key opens them, and only as what they were sealed for."""

import pytest

from tenantry.kit.errors import FailedPrecondition
from tenantry.kit.owner import Platform, Tenant
from tenantry.models.model import Account, Owner, Provider
from tenantry.models.sealing import Seal

ACME = Tenant("acme-org", "acme")
ACCOUNT: Account = (Provider.OPENAI, "https://a.example")
SEAL = Seal(b"k" * 32)


def test_a_sealed_credential_opens_as_it_was_and_shows_nothing() -> None:
    sealed = SEAL.close(ACME, ACCOUNT, "sk-secret")
    assert SEAL.open(ACME, ACCOUNT, sealed) == "sk-secret"
    assert b"sk-secret" not in sealed
    assert SEAL.close(ACME, ACCOUNT, "sk-secret") != sealed


@pytest.mark.parametrize(
    ("owner", "account"),
    [
        (Tenant("acme-org", "globex"), ACCOUNT),
        (Platform(), ACCOUNT),
        (ACME, (Provider.ANTHROPIC, ACCOUNT[1])),
        (ACME, (Provider.OPENAI, "https://evil.example")),
        (ACME, (Provider.OPENAI, "")),
    ],
)
def test_a_row_that_was_moved_to_another_owner_or_address_does_not_open(owner: Owner, account: Account) -> None:
    sealed = SEAL.close(ACME, ACCOUNT, "sk-secret")
    with pytest.raises(FailedPrecondition):
        SEAL.open(owner, account, sealed)


def test_another_key_or_a_changed_byte_does_not_open() -> None:
    sealed = SEAL.close(ACME, ACCOUNT, "sk-secret")
    with pytest.raises(FailedPrecondition) as refused:
        Seal(b"o" * 32).open(ACME, ACCOUNT, sealed)
    assert "models.key" in refused.value.message
    for wrong in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:20], b""):
        with pytest.raises(FailedPrecondition):
            SEAL.open(ACME, ACCOUNT, wrong)
