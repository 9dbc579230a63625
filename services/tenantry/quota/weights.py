"""What a tenant's service counts for in the fair queue: one with twice the weight gets twice the service."""

from collections.abc import Mapping

TIERS: Mapping[str, int] = {"free": 1, "pro": 4, "enterprise": 16}
LEAST = 1


def weight_of(tier: str, override: int) -> int:
    """The tenant's own weight, or with 0 its tier's."""
    return override or TIERS.get(tier, LEAST)
