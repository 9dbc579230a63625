"""Refusals on their way to the audit log: by kind, bounded, counted."""

from collections.abc import Sequence

import pytest

from tenantry.kit.access import Access
from tenantry.kit.audit import Record
from tenantry.kit.audit_refusals import A_MINUTE, MOST, OTHERS, Refusal, Refusals, refusal_of
from tenantry.kit.errors import Aborted, NotFound, PermissionDenied, Reason, TenantryError, Unauthenticated, Unavailable
from tenantry.kit.owner import Organisation, Owner, Platform, Tenant
from tests.harness.clock import FrozenClock
from tests.harness.room import caller_of

ACME = Tenant("acme-org", "acme")
ADMIN = Access("admin", "prompts.read", "required", ())
PUBLIC = Access("public", "generate", "required", ())
DENIED = PermissionDenied(Reason.SCOPE_MISSING, "no")


class Tenancy:
    """What was delivered; it may fail."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.fault: TenantryError | None = None

    async def __call__(self, records: Sequence[Record], /) -> None:
        if self.fault is not None:
            raise self.fault
        self.records += records


@pytest.fixture
def tenancy() -> Tenancy:
    return Tenancy()


@pytest.fixture
def refusals(tenancy: Tenancy, clock: FrozenClock) -> Refusals:
    return Refusals(tenancy, clock)


def _refusal(number: int = 1, whose: Owner = ACME) -> Refusal:
    return Refusal(whose, f"key_{number}", "GetPrompt", "", "PERMISSION_DENIED", "SCOPE_MISSING")


async def test_the_first_is_told_at_once_and_equal_ones_as_one_a_minute(
    refusals: Refusals, tenancy: Tenancy, clock: FrozenClock
) -> None:
    refusals.note(_refusal())
    await refusals.flush()
    for _ in range(500):
        refusals.note(_refusal())
        await refusals.flush()
    assert [record.count for record in tenancy.records] == [1]
    clock.advance(60)
    await refusals.flush()
    assert [record.count for record in tenancy.records] == [1, 500]
    assert len({record.id for record in tenancy.records}) == 2


async def test_a_log_gets_so_many_kinds_a_minute_and_the_rest_is_counted(refusals: Refusals, tenancy: Tenancy) -> None:
    for number in range(1000):
        refusals.note(_refusal(number))
    refusals.note(_refusal(1, Organisation("globex-org")))
    await refusals.flush()
    mine = [record for record in tenancy.records if record.whose == ACME]
    assert len(mine) == A_MINUTE + 1
    (others,) = (record for record in mine if record.action == OTHERS)
    assert (others.count, others.principal, others.reason) == (1000 - A_MINUTE, "", "SCOPE_MISSING")
    assert len(tenancy.records) == len(mine) + 1


async def test_memory_is_bounded_whoever_is_refused_and_however_long_tenancy_is_away(
    refusals: Refusals, tenancy: Tenancy, clock: FrozenClock
) -> None:
    tenancy.fault = Unavailable(Reason.SERVICE_UNAVAILABLE, "away")
    for minute in range(3):
        for number in range(3 * MOST):
            refusals.note(_refusal(number, Tenant("o", f"t-{minute}-{number}")))
        with pytest.raises(Unavailable):
            await refusals.flush()
        clock.advance(60)
    tenancy.fault = None
    await refusals.flush()
    assert len(tenancy.records) == MOST


async def test_what_tenancy_will_never_take_does_not_hold_up_the_rest(refusals: Refusals, tenancy: Tenancy) -> None:
    refusals.note(_refusal())
    tenancy.fault = PermissionDenied(Reason.CALLER_NOT_ALLOWED, "never")
    with pytest.raises(PermissionDenied):
        await refusals.flush()
    tenancy.fault = None
    refusals.note(_refusal(2))
    await refusals.flush()
    assert [record.principal for record in tenancy.records] == ["key_2"]


def test_only_who_is_proven_writes_into_a_log_of_its_own() -> None:
    assert refusal_of("GetPrompt", ADMIN, caller_of(), None, DENIED) == Refusal(
        ACME, "key_1", "GetPrompt", "", "PERMISSION_DENIED", "SCOPE_MISSING"
    )
    unproven = Unauthenticated(Reason.CREDENTIAL_INVALID, "no")
    stranger = refusal_of("GetPrompt", ADMIN, None, None, unproven)
    assert stranger is not None and (stranger.whose, stranger.principal) == (Platform(), "")
    service = refusal_of("ReserveQuota", PUBLIC, None, "cache", DENIED)
    assert service is not None and service.principal == "service:cache"
    admin = refusal_of("GetPrompt", ADMIN, caller_of("", "acme-org"), None, DENIED)
    assert admin is not None and admin.whose == Organisation("acme-org")


def test_slips_and_faults_and_what_is_noted_elsewhere_are_no_refusals() -> None:
    missing = NotFound(Reason.NOT_FOUND, "no", kind="prompt")
    assert refusal_of("GetPrompt", ADMIN, caller_of(), None, missing) is not None
    assert refusal_of("GetDocument", PUBLIC, caller_of(), None, missing) is None
    assert refusal_of("UpdatePrompt", ADMIN, caller_of(), None, Aborted(Reason.VERSION_CONFLICT, "no")) is None
    noted = PermissionDenied(Reason.MODEL_DENIED, "no")
    noted.noted = True
    assert refusal_of("GenerateContent", PUBLIC, caller_of(), None, noted) is None
