"""What shall stand in audit logs, on its way from the service where it happened to tenancy, which keeps the logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tenantry.kit.owner import Organisation, Owner, Tenant

# Records in one delivery.
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Record:
    """An entry to be, of the log of `whose`. It holds ids, never content.

    By its `id` it is entered once, however often it is delivered. `count` is how many equal ones it stands for.
    """

    id: str
    whose: Owner
    time_ns: int
    principal: str
    action: str
    subject: str = ""
    outcome: str = "OK"
    reason: str = ""
    count: int = 1


def ids_of(whose: Owner) -> tuple[str, str]:
    """Organisation and tenant of an owner, as the contract has them: "" for what it has not."""
    match whose:
        case Tenant():
            return whose.organisation, whose.id
        case Organisation():
            return whose.id, ""
        case _:
            return "", ""


class Deliver(Protocol):
    """Hands up to `AT_ONCE` records to tenancy; when it returns, they are kept."""

    async def __call__(self, records: Sequence[Record], /) -> None: ...
