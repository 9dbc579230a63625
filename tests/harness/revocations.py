"""What a process knows of revocations where a test has no tenancy to hear of them."""

from tenantry.kit.revocations import Revocations
from tests.harness.clock import FrozenClock


def nobody_revoked() -> Revocations:
    """Word that never grows old, of nobody until the test enters somebody."""
    known = Revocations(FrozenClock())
    known.confirm(0.0)
    return known
