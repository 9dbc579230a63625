"""Tenants: accept new ones, read and list them, accept their end. The work itself is an operation's (`onboarding`)."""

from collections.abc import Callable
from dataclasses import dataclass

from tenantry.kit import owner
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, Reason
from tenantry.kit.ids import new_id
from tenantry.kit.revocations import not_active
from tenantry.tenancy import audit, saga
from tenantry.tenancy.paging import Page, cut
from tenantry.tenancy.reach import may_name_organisation, not_found, only_administrators, own, owner_of, reached
from tenantry.tenancy.records import Operation, OperationKind, Progress, Tenant, TenantState, Tier
from tenantry.tenancy.store import PLATFORM, Store, Transaction
from tenantry.tenancy.validity import check_still_valid


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What CreateTenant asks for. An empty organisation is the caller's own."""

    id: str
    organisation: str
    display_name: str
    tier: Tier


class Tenants:
    """What administrators may do with tenants. `accepted` is called when there is new work."""

    def __init__(self, store: Store, clock: Clock, accepted: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._accepted = accepted

    async def create(self, caller: Caller, wanted: NewTenant) -> Operation:
        """The operation that makes the tenant; the same one when the same is asked again."""
        if caller.tenant:
            raise only_administrators()
        organisation = wanted.organisation or caller.organisation
        if not organisation:
            raise InvalidArgument("organisation", "is missing")
        if not may_name_organisation(caller, organisation):
            raise not_found("organisation")
        whose = owner.Tenant(organisation, wanted.id)
        try:
            operation = await self._create(caller, whose, wanted)
        except Conflict:  # another call made it between our look and our insert
            operation = await self._create(caller, whose, wanted)
        self._accepted()
        return operation

    async def get(self, caller: Caller, tenant_id: str) -> Tenant:
        """The tenant; "" for the caller's own."""
        async with self._store.read() as tx:
            return await find(tx, caller, tenant_id)

    async def list(self, caller: Caller, organisation: str, page: Page) -> tuple[tuple[Tenant, ...], str]:
        """Those that the caller may name, of one organisation if that is given, and the next page's token."""
        whose: owner.Owner = own(caller)
        async with self._store.read() as tx:
            if organisation and organisation != caller.organisation:
                named = owner.Organisation(organisation)
                if not may_name_organisation(caller, organisation) or await tx.organisations.get(named) is None:
                    raise not_found("organisation")
                whose = named
            found = await tx.tenants.list(whose, page)
        return cut(found, page, lambda tenant: tenant.id)

    async def delete(self, caller: Caller, tenant_id: str) -> Operation:
        """The operation that deletes the tenant, whose keys are worth nothing from now on."""
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            await check_still_valid(tx, caller, now_ns)
            tenant = reached(caller, await tx.tenants.lock(owner.Tenant("", tenant_id)))
            if tenant.state in (TenantState.DELETING, TenantState.DELETED):
                return await _operation(tx, tenant.operation)
            whose = owner_of(tenant)
            operation = _new_operation(OperationKind.DELETE_TENANT, whose, tenant.tier, now_ns)
            await tx.operations.insert(whose, operation)
            await tx.tenants.set_state(whose, TenantState.DELETING, operation.id)
            await tx.keys.revoke_all(whose, now_ns)
            await tx.issuers.remove_all(whose, now_ns)
            await audit.write(tx, whose, caller, "DeleteTenant", tenant.id, now_ns)
        self._accepted()
        return operation

    async def suspend(self, caller: Caller, tenant_id: str) -> Tenant:
        """The tenant, whose callers are refused from now on."""
        return await self._set_state(caller, tenant_id, TenantState.SUSPENDED, "SuspendTenant")

    async def resume(self, caller: Caller, tenant_id: str) -> Tenant:
        """The tenant, whose callers are served again."""
        return await self._set_state(caller, tenant_id, TenantState.ACTIVE, "ResumeTenant")

    async def _set_state(self, caller: Caller, tenant_id: str, state: TenantState, action: str) -> Tenant:
        if caller.tenant:
            raise only_administrators()
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            await check_still_valid(tx, caller, now_ns)
            named = owner.Tenant("", tenant_id)
            tenant = reached(caller, await tx.tenants.lock(named))
            if tenant.state is state:
                return tenant
            if tenant.state not in (TenantState.ACTIVE, TenantState.SUSPENDED):
                raise not_active(tenant.state.value)
            whose = owner_of(tenant)
            await tx.tenants.set_state(whose, state, tenant.operation)
            await audit.write(tx, whose, caller, action, tenant.id, now_ns)
            return reached(caller, await tx.tenants.get(named))

    async def _create(self, caller: Caller, whose: owner.Tenant, wanted: NewTenant) -> Operation:
        async with self._store.write() as tx:
            now_ns = self._clock.now_ns()
            await check_still_valid(tx, caller, now_ns)
            if await tx.organisations.get(owner.Organisation(whose.organisation)) is None:
                raise not_found("organisation")
            known = await tx.tenants.get(whose)
            if known is not None:
                return await _again(tx, known, whose, wanted)
            operation = _new_operation(OperationKind.CREATE_TENANT, whose, wanted.tier, now_ns)
            tenant = Tenant(
                id=whose.id,
                organisation=whose.organisation,
                display_name=wanted.display_name,
                tier=wanted.tier,
                state=TenantState.CREATING,
                operation=operation.id,
                created_ns=now_ns,
            )
            await tx.tenants.insert(whose, tenant)
            await tx.operations.insert(whose, operation)
            await audit.write(tx, whose, caller, "CreateTenant", whose.id, now_ns)
        return operation


async def find(tx: Transaction, caller: Caller, tenant_id: str) -> Tenant:
    """A tenant that the caller may name; "" for its own."""
    if not tenant_id and not caller.tenant:
        raise InvalidArgument("tenant", "is missing")
    return reached(caller, await tx.tenants.get(owner.Tenant("", tenant_id or caller.tenant)))


async def _again(tx: Transaction, known: Tenant, whose: owner.Tenant, wanted: NewTenant) -> Operation:
    gone = known.state in (TenantState.DELETING, TenantState.DELETED)
    if gone or known.organisation != whose.organisation or known.tier is not wanted.tier:
        raise AlreadyExists(Reason.ALREADY_EXISTS, "the id is or was another tenant's", kind="tenant")
    return await _operation(tx, known.operation)


async def _operation(tx: Transaction, operation_id: str) -> Operation:
    operation = await tx.operations.get(PLATFORM, operation_id)
    if operation is None:
        raise FailedPrecondition(Reason.STORE_UNFIT, "the tenant's operation is missing in the store")
    return operation


def _new_operation(kind: OperationKind, whose: owner.Tenant, tier: Tier, now_ns: int) -> Operation:
    return Operation(
        id=new_id("op"),
        kind=kind,
        tenant=whose.id,
        organisation=whose.organisation,
        tier=tier,
        state=Progress.PENDING,
        steps=saga.steps_of(kind),
        created_ns=now_ns,
    )
