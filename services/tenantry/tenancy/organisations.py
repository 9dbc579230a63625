"""Organisations: make, read and list them."""

from tenantry.kit import owner
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import AlreadyExists, Conflict, Reason
from tenantry.tenancy import audit
from tenantry.tenancy.paging import Page, cut
from tenantry.tenancy.reach import may_name_organisation, not_found, only_administrators, own
from tenantry.tenancy.records import Organisation
from tenantry.tenancy.store import PLATFORM, Store
from tenantry.tenancy.validity import check_still_valid


class Organisations:
    """What administrators may do with organisations."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, caller: Caller, organisation_id: str, display_name: str) -> Organisation:
        """A new organisation, or the one that is there if it is the same. Operators only."""
        if own(caller) != PLATFORM:
            raise only_administrators()
        try:
            return await self._create(caller, organisation_id, display_name)
        except Conflict:  # another call made it between our look and our insert
            return await self._create(caller, organisation_id, display_name)

    async def get(self, caller: Caller, organisation_id: str) -> Organisation:
        """The organisation; "" for the caller's own."""
        # A tenant's caller may know its own organisation's name.
        known = organisation_id in ("", caller.organisation) or may_name_organisation(caller, organisation_id)
        if not known:
            raise not_found("organisation")
        async with self._store.read() as tx:
            found = await tx.organisations.get(owner.Organisation(organisation_id or caller.organisation))
        if found is None:
            raise not_found("organisation")
        return found

    async def list(self, caller: Caller, page: Page) -> tuple[tuple[Organisation, ...], str]:
        """Those that the caller may name, and the next page's token."""
        whose = owner.Organisation(caller.organisation) if caller.organisation else PLATFORM
        async with self._store.read() as tx:
            found = await tx.organisations.list(whose, page)
        return cut(found, page, lambda organisation: organisation.id)

    async def _create(self, caller: Caller, organisation_id: str, display_name: str) -> Organisation:
        whose = owner.Organisation(organisation_id)
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            await check_still_valid(tx, caller, now_ns)
            known = await tx.organisations.get(whose)
            if known is not None:
                if known.display_name != display_name:
                    raise AlreadyExists(Reason.ALREADY_EXISTS, "the organisation exists already", kind="organisation")
                return known
            made = Organisation(organisation_id, display_name, now_ns)
            await tx.organisations.insert(whose, made)
            await audit.write(tx, whose, caller, "CreateOrganisation", organisation_id, now_ns)
        return made
