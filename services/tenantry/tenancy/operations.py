"""Operations: read one, and watch it until it ends."""

from collections.abc import AsyncIterator

from tenantry.kit.caller import Caller, may_name
from tenantry.kit.clock import Clock
from tenantry.kit.owner import Tenant
from tenantry.tenancy.reach import not_found
from tenantry.tenancy.records import Operation, Progress
from tenantry.tenancy.store import PLATFORM, Store

# A step may be taken in any process, so a watcher asks the store.
_LOOK_EVERY_S = 0.1


class Operations:
    """What administrators may see of operations."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, caller: Caller, operation_id: str) -> Operation:
        """The operation, if it is about a tenant that the caller may name."""
        async with self._store.read() as tx:
            operation = await tx.operations.get(PLATFORM, operation_id)
        if operation is None or not may_name(caller, Tenant(operation.organisation, operation.tenant)):
            raise not_found("operation")
        return operation

    async def watch(self, caller: Caller, operation_id: str) -> AsyncIterator[Operation]:
        """The operation now and after each change, until it has ended."""
        seen = 0
        while True:
            operation = await self.get(caller, operation_id)
            if operation.version != seen:
                yield operation
            if operation.state is Progress.DONE:
                return
            seen = operation.version
            await self._clock.sleep(_LOOK_EVERY_S)
