"""Whether an answer fits the JSON Schema that binds it, and how a model is asked to mend one that does not.

Schemas are tenants' own, and checking one may take days: it is done in child processes that are ended when they are late.
"""

from tenantry.kit.children import Children

LATE_S = 1.0
# More than a tenant's templates: behind each stands an answer that was paid for.
_WAITING = 256


class _Checkers:
    """The children of this process, while it has any."""

    children: Children | None = None


async def fault_of(text: str, schema: str) -> str | None:
    """Where the answer does not fit, without its words; None if it fits."""
    if _Checkers.children is None:
        _Checkers.children = Children("tenantry.gateway.schema_child", late_s=LATE_S, waiting=_WAITING)
    answer = await _Checkers.children.ask({"text": text, "schema": schema})
    return f"the schema takes too long to check (more than {LATE_S:g} s)" if answer is None else answer["fault"]


async def close() -> None:
    """Ends the processes that check; the next check starts them again."""
    children, _Checkers.children = _Checkers.children, None
    if children is not None:
        await children.close()


def repair_request(fault: str) -> str:
    """What the model is told when its answer did not fit, once."""
    return f"Your answer does not fit the JSON Schema: {fault}. Answer again with JSON alone that fits it."
