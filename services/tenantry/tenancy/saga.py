"""Which services an operation asks, in which order, and when a step that failed is tried again. Pure functions of
values.

A new tenant is unreachable until all have answered, so they are asked side by side. A tenant that goes first loses
the right to begin anything new (quota), then what is kept of it, and last what tells about it (insight).
"""

from tenantry.tenancy.records import Operation, OperationKind, Progress, Step

_STAGES: dict[OperationKind, tuple[tuple[str, ...], ...]] = {
    OperationKind.CREATE_TENANT: (("quota", "retrieval", "cache", "prompts", "models", "insight"),),
    OperationKind.DELETE_TENANT: (("quota",), ("retrieval", "cache", "prompts", "models"), ("insight",)),
}
_FIRST_PAUSE_NS = 250_000_000
_LONGEST_PAUSE_NS = 30_000_000_000


def steps_of(kind: OperationKind) -> tuple[Step, ...]:
    """The steps of a new operation."""
    return tuple(Step(service, stage) for stage, services in enumerate(_STAGES[kind]) for service in services)


def due_steps(operation: Operation, now_ns: int) -> tuple[Step, ...]:
    """The steps to take now: those of the first stage that is not done, without those that wait for their next attempt.

    A step that is RUNNING is due as well: whoever ran it is gone, since its claim was free.
    """
    undone = [step for step in operation.steps if step.state is not Progress.DONE]
    if not undone:
        return ()
    stage = min(step.stage for step in undone)
    return tuple(step for step in undone if step.stage == stage and step.due_ns <= now_ns)


def all_done(operation: Operation) -> bool:
    """Whether every service has answered."""
    return all(step.state is Progress.DONE for step in operation.steps)


def pause_ns(attempts: int) -> int:
    """How long a step waits after its attempt number `attempts` failed: twice as long each time, up to half a
    minute."""
    return min(_FIRST_PAUSE_NS << min(attempts - 1, 16), _LONGEST_PAUSE_NS)
