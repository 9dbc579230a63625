"""The order of steps and the pauses between attempts."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tenantry.tenancy import saga
from tenantry.tenancy.records import Operation, OperationKind, Progress, Tier

SERVICES = {"quota", "retrieval", "cache", "prompts", "models", "insight"}


def _operation(kind: OperationKind) -> Operation:
    return Operation("op_1", kind, "acme", "acme-org", Tier.PRO, Progress.PENDING, saga.steps_of(kind), 0)


def _after(operation: Operation, state: Progress, *services: str, due_ns: int = 0) -> Operation:
    steps = (replace(s, state=state, due_ns=due_ns) if s.service in services else s for s in operation.steps)
    return replace(operation, steps=tuple(steps))


def _due(operation: Operation, now_ns: int = 0) -> set[str]:
    return {step.service for step in saga.due_steps(operation, now_ns)}


def test_every_service_with_tenant_state_is_asked_once_in_each_operation() -> None:
    for kind in OperationKind:
        services = [step.service for step in saga.steps_of(kind)]
        assert set(services) == SERVICES and len(services) == len(SERVICES)


def test_a_new_tenant_is_made_everywhere_at_once() -> None:
    assert _due(_operation(OperationKind.CREATE_TENANT)) == SERVICES


def test_a_tenant_is_deleted_in_stages() -> None:
    operation = _operation(OperationKind.DELETE_TENANT)
    assert _due(operation) == {"quota"}
    operation = _after(operation, Progress.DONE, "quota")
    assert _due(operation) == {"retrieval", "cache", "prompts", "models"}
    operation = _after(operation, Progress.DONE, "retrieval", "cache", "prompts")
    assert _due(operation) == {"models"}
    operation = _after(operation, Progress.DONE, "models")
    assert _due(operation) == {"insight"}
    operation = _after(operation, Progress.DONE, "insight")
    assert _due(operation) == set() and saga.all_done(operation)


def test_a_step_that_somebody_left_running_is_taken_again() -> None:
    operation = _after(_operation(OperationKind.DELETE_TENANT), Progress.RUNNING, "quota")
    assert _due(operation) == {"quota"}


def test_a_step_that_failed_waits_and_holds_its_stage_up() -> None:
    operation = _after(_operation(OperationKind.DELETE_TENANT), Progress.PENDING, "quota", due_ns=10)
    assert _due(operation, 9) == set()
    assert _due(operation, 10) == {"quota"}


@given(st.integers(1, 10_000))
def test_pauses_grow_and_stay_within_half_a_minute(attempts: int) -> None:
    assert 250_000_000 <= saga.pause_ns(attempts) <= saga.pause_ns(attempts + 1) <= 30_000_000_000
