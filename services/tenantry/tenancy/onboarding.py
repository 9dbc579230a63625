"""The worker that takes operations step by step, in any process, until every service has answered.

An operation belongs to the one worker that claimed it (compare-and-set, with an end). Each transaction renews the
claim and writes nothing without it; a call to a service is over before the claim that covers it. So two workers
never write about one operation, and a worker that was killed is followed, when its claim ends, by one that goes on
where the steps say.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from tenantry.kit import owner
from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.kit.ids import new_id
from tenantry.tenancy import saga
from tenantry.tenancy.lifecycle import CALL_S, Lifecycle
from tenantry.tenancy.records import AuditEntry, Operation, OperationKind, Progress, Step, TenantState
from tenantry.tenancy.store import PLATFORM, Store, Transaction

log = logging.getLogger(__name__)

CLAIM_S = CALL_S + 5.0
PRINCIPAL = "service:tenancy"
_LOOK_EVERY_S = 1.0
_AT_ONCE = 8
_MAX_TEXT = 300
_ENDED = {OperationKind.CREATE_TENANT: "TenantCreated", OperationKind.DELETE_TENANT: "TenantDeleted"}


class _ClaimLost(Exception):
    """Another worker has the operation now."""


class Onboarding:
    """Takes steps. `run` belongs to the room's background; `wake` spares new work the wait for the next look."""

    def __init__(self, store: Store, lifecycle: Lifecycle, clock: Clock) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._clock = clock
        self._worker = new_id("worker")
        self._woken = asyncio.Event()
        self._busy: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There is new work."""
        self._woken.set()

    async def run(self) -> None:
        """Looks for work for ever."""
        failing = False
        try:
            while True:
                self._woken.clear()
                try:
                    await self._look()
                    failing = False
                except TenantryError as error:
                    if not failing:
                        log.warning("operations can't be read: %s", error.message)
                    failing = True
                await self._pause()
        finally:
            await asyncio.shield(self._stop())

    async def work_once(self) -> None:
        """Takes every operation as far as it goes now: for tests."""
        await self._look()
        await asyncio.gather(*self._busy.values())

    async def _stop(self) -> None:
        """Breaks off, and gives the claims back: the next worker need not wait for their end."""
        held = dict(self._busy)
        for task in held.values():
            task.cancel()
        await asyncio.gather(*held.values(), return_exceptions=True)
        if not held:
            return
        try:
            async with self._store.write() as tx:
                for operation_id in held:
                    await tx.operations.release(PLATFORM, operation_id, self._worker)
        except TenantryError as error:
            log.warning("claims on operations can't be given back: %s", error.message)

    async def _look(self) -> None:
        free = _AT_ONCE - len(self._busy)
        if free <= 0:
            return
        async with self._store.read() as tx:
            waiting = await tx.operations.waiting(PLATFORM, self._clock.now_ns(), _AT_ONCE + free)
        for operation_id in [found for found in waiting if found not in self._busy][:free]:
            task = asyncio.create_task(self._take(operation_id))
            self._busy[operation_id] = task
            task.add_done_callback(lambda _, done=operation_id: self._busy.pop(done, None))

    async def _pause(self) -> None:
        """Until there is new work, or for a while."""
        woken = asyncio.ensure_future(self._woken.wait())
        slept = asyncio.ensure_future(self._clock.sleep(_LOOK_EVERY_S))
        try:
            await asyncio.wait((woken, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()

    async def _take(self, operation_id: str) -> None:
        try:
            async with self._store.write() as tx:
                if not await tx.operations.claim(PLATFORM, operation_id, self._worker, CLAIM_S):
                    return
            while await self._advance(operation_id):
                pass
            self._woken.set()  # there may be one that waited for this one, or for a free place
        except _ClaimLost:
            log.info("the operation %s is another worker's now", operation_id)
        except TenantryError as error:
            log.warning("the operation %s waits: %s", operation_id, error.message)
        except Exception as error:  # the operation stays, and is tried again when the claim ends
            log.error("the operation %s met a fault: %s", operation_id, type(error).__name__, exc_info=error)

    async def _advance(self, operation_id: str) -> bool:
        """Takes the steps that are due, side by side; False when the operation must wait or has ended."""
        async with self._store.write() as tx:
            operation = await tx.operations.get(PLATFORM, operation_id)
            if operation is None or operation.state is Progress.DONE:
                await tx.operations.release(PLATFORM, operation_id, self._worker)
                return False
            await self._keep(tx, operation_id)
            if saga.all_done(operation):
                await self._end(tx, operation)
                return False
            steps = saga.due_steps(operation, self._clock.now_ns())
            if not steps:
                await tx.operations.release(PLATFORM, operation_id, self._worker)
                return False
            steps = [replace(step, state=Progress.RUNNING, attempts=step.attempts + 1) for step in steps]
            for step in steps:
                await tx.operations.save_step(_owner(operation), operation_id, step)
        await self._take_steps(operation, steps)
        return True

    async def _take_steps(self, operation: Operation, steps: Sequence[Step]) -> None:
        taken = await asyncio.gather(*(self._step(operation, step) for step in steps), return_exceptions=True)
        for failure in taken:
            if isinstance(failure, BaseException):
                raise failure

    async def _step(self, operation: Operation, step: Step) -> None:
        try:
            did = await self._ask(operation, step)
            after = replace(step, state=Progress.DONE, did=did[:_MAX_TEXT], error="")
        except TenantryError as error:
            due_ns = self._clock.now_ns() + saga.pause_ns(step.attempts)
            after = replace(
                step, state=Progress.PENDING, error=f"{error.code}: {error.message}"[:_MAX_TEXT], due_ns=due_ns
            )
            log.warning("%s of %s at %s failed: %s", operation.kind, operation.tenant, step.service, error.code)
        async with self._store.write() as tx:
            await self._keep(tx, operation.id)
            await tx.operations.save_step(_owner(operation), operation.id, after)

    async def _ask(self, operation: Operation, step: Step) -> str:
        if operation.kind is OperationKind.CREATE_TENANT:
            return await self._lifecycle.provision(_owner(operation), step.service, operation.tier.value)
        return await self._lifecycle.deprovision(_owner(operation), step.service)

    async def _end(self, tx: Transaction, operation: Operation) -> None:
        """The operation and its tenant reach their last state together."""
        whose = _owner(operation)
        now_ns = self._clock.now_ns()
        tenant = await tx.tenants.lock(whose)
        await tx.operations.end(whose, operation.id, now_ns)
        # A tenant whose deletion was accepted while it was being made never becomes ACTIVE.
        if tenant is not None and tenant.operation == operation.id:
            if operation.kind is OperationKind.CREATE_TENANT:
                await tx.tenants.set_state(whose, TenantState.ACTIVE, operation.id)
            else:
                await tx.tenants.set_state(whose, TenantState.DELETED, operation.id)
                await tx.tenants.forget_name(whose)
        await tx.audit.append(whose, AuditEntry(now_ns, PRINCIPAL, _ENDED[operation.kind], operation.id))
        await tx.operations.release(PLATFORM, operation.id, self._worker)

    async def _keep(self, tx: Transaction, operation_id: str) -> None:
        if not await tx.operations.renew(PLATFORM, operation_id, self._worker, CLAIM_S):
            raise _ClaimLost


def _owner(operation: Operation) -> owner.Tenant:
    return owner.Tenant(operation.organisation, operation.tenant)
