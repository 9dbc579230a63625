"""Owners are values."""

from dataclasses import FrozenInstanceError

import pytest

from tenantry.kit.owner import Organisation, Platform, Pool, Tenant


def test_owners_are_equal_by_value_and_work_as_keys() -> None:
    assert Tenant("org", "acme") == Tenant("org", "acme")
    assert len({Tenant("org", "acme"), Tenant("org", "globex"), Organisation("acme"), Pool("acme"), Platform()}) == 5


def test_an_owner_never_changes() -> None:
    owner = Tenant("org", "acme")
    with pytest.raises(FrozenInstanceError):
        owner.id = "globex"  # type: ignore[misc]
