"""Operations, their steps and the claims on them in SQL."""

from typing import Any

from sqlalchemy import Row, and_, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import claims, owner
from tenantry.tenancy.records import Operation, OperationKind, Progress, Step, Tier
from tenantry.tenancy.store_sql.tables import operation_steps, operations

_steps = operation_steps.c


class SqlOperations:
    """`store.Operations` in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, owner: owner.Tenant, operation: Operation) -> None:
        values = {
            "id": operation.id,
            "kind": operation.kind.value,
            "tenant": owner.id,
            "organisation": owner.organisation,
            "tier": operation.tier.value,
            "state": operation.state.value,
            "created_ns": operation.created_ns,
            "ended_ns": operation.ended_ns,
            "version": operation.version,
        }
        await self._connection.execute(insert(operations).values(values))
        rows = [
            {
                "operation": operation.id,
                "position": position,
                "service": step.service,
                "stage": step.stage,
                **_values(step),
            }
            for position, step in enumerate(operation.steps)
        ]
        await self._connection.execute(insert(operation_steps), rows)

    async def get(self, owner: owner.Platform, operation_id: str) -> Operation | None:
        row = (await self._connection.execute(select(operations).where(operations.c.id == operation_id))).first()
        if row is None:
            return None
        query = select(operation_steps).where(_steps.operation == operation_id).order_by(_steps.position)
        return _operation(row, tuple(_step(step) for step in await self._connection.execute(query)))

    async def waiting(self, owner: owner.Platform, now_ns: int, most: int) -> tuple[str, ...]:
        older = operations.alias("older")
        before = exists().where(
            older.c.tenant == operations.c.tenant, older.c.id < operations.c.id, older.c.state != Progress.DONE.value
        )
        undone = and_(_steps.operation == operations.c.id, _steps.state != Progress.DONE.value)
        due = exists().where(undone, _steps.due_ns <= now_ns)
        query = (
            select(operations.c.id)
            .where(operations.c.state != Progress.DONE.value, ~before, or_(due, ~exists().where(undone)))
            .order_by(operations.c.id)
            .limit(most)
        )
        return tuple((await self._connection.execute(query)).scalars())

    async def claim(self, owner: owner.Platform, operation_id: str, worker: str, seconds: float) -> bool:
        return await claims.claim(self._connection, operation_id, worker, seconds)

    async def renew(self, owner: owner.Platform, operation_id: str, worker: str, seconds: float) -> bool:
        return await claims.renew(self._connection, operation_id, worker, seconds)

    async def release(self, owner: owner.Platform, operation_id: str, worker: str) -> None:
        await claims.release(self._connection, operation_id, worker)

    async def save_step(self, owner: owner.Tenant, operation_id: str, step: Step) -> None:
        mine = and_(_steps.operation == operation_id, _steps.service == step.service)
        await self._connection.execute(update(operation_steps).where(mine).values(_values(step)))
        change = update(operations).where(operations.c.id == operation_id)
        await self._connection.execute(change.values(state=Progress.RUNNING.value, version=operations.c.version + 1))

    async def end(self, owner: owner.Tenant, operation_id: str, now_ns: int) -> None:
        change = update(operations).where(operations.c.id == operation_id)
        change = change.values(state=Progress.DONE.value, ended_ns=now_ns, version=operations.c.version + 1)
        await self._connection.execute(change)


def _values(step: Step) -> dict[str, Any]:
    return {
        "state": step.state.value,
        "attempts": step.attempts,
        "did": step.did,
        "error": step.error,
        "due_ns": step.due_ns,
    }


def _step(row: Row[Any]) -> Step:
    return Step(row.service, row.stage, Progress(row.state), row.attempts, row.did, row.error, row.due_ns)


def _operation(row: Row[Any], steps: tuple[Step, ...]) -> Operation:
    return Operation(
        id=row.id,
        kind=OperationKind(row.kind),
        tenant=row.tenant,
        organisation=row.organisation,
        tier=Tier(row.tier),
        state=Progress(row.state),
        steps=steps,
        created_ns=row.created_ns,
        ended_ns=row.ended_ns,
        version=row.version,
    )
