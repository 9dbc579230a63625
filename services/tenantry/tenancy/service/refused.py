"""Notes an administrator's refused request for the audit log."""

import re
from collections.abc import Generator
from contextlib import contextmanager

from tenantry.kit import caller
from tenantry.kit.errors import TenantryError
from tenantry.tenancy.audit import REFUSALS, Refusal, Refusals
from tenantry.tenancy.reach import own

_ID = re.compile(r"[a-z0-9_-]{1,63}")


@contextmanager
def noting(refusals: Refusals, action: str, subject: str = "") -> Generator[caller.Caller]:
    """The current caller; if the block refuses him, it is noted. A subject that can't be an id is left out."""
    who = caller.current()
    try:
        yield who
    except TenantryError as error:
        if error.code in REFUSALS:
            named = subject if _ID.fullmatch(subject) else ""
            refusals.note(Refusal(own(who), who.principal, action, named, error.code, error.reason.value))
            error.noted = True
        raise
