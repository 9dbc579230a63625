"""When a failed call may be sent again: only an RPC that says so, at most twice more, within a budget a channel.

The budget is gRFC A6's token bucket: a failure takes a token, a success gives a tenth of one back, and nothing is sent
again while half of the tokens or fewer are left, so that retries can't add to an outage.
"""

import random
from functools import cache

from google.protobuf.descriptor_pb2 import MethodOptions

from tenantry.kit.access import method_of
from tenantry.kit.errors import TenantryError, Unavailable

MAX_ATTEMPTS = 3
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0


class Budget:
    """The tokens of one channel."""

    def __init__(self, tokens: float = 10.0, ratio: float = 0.1) -> None:
        self._max = tokens
        self._ratio = ratio
        self._tokens = tokens

    def succeeded(self) -> None:
        """A call ended well."""
        if self._tokens < self._max:
            self._tokens = min(self._tokens + self._ratio, self._max)

    def failed(self) -> None:
        """A call failed in a way that repeating could mend."""
        self._tokens = max(self._tokens - 1.0, 0.0)

    def allows(self) -> bool:
        """Whether a call may be sent again now."""
        return self._tokens > self._max / 2


def wait_before(attempt: int, error: TenantryError) -> float | None:
    """Seconds to wait after `attempt` (1 is the first) failed with `error`; None when it must not be sent again."""
    if attempt >= MAX_ATTEMPTS or not isinstance(error, Unavailable):
        return None
    ceiling = min(FIRST_BACKOFF_S * 2 ** (attempt - 1), MAX_BACKOFF_S)
    backoff = random.uniform(ceiling / 2, ceiling)
    return max(backoff, error.retry_after_s or 0.0)


@cache
def repeatable(path: str) -> bool:
    """Whether the contract says that sending an RPC twice is the same as once."""
    method = method_of(path)
    if method is None:
        return False
    return method.GetOptions().idempotency_level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)
