"""How many calls each tenant has under way in one place, so that none takes the seats of all."""

from collections import Counter

from tenantry.kit.errors import Reason, ResourceExhausted


class Shares:
    """Each of those that are named has at most `most` at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def take(self, whose: str) -> None:
        """One more of `whose`, to be given back; ResourceExhausted when he has his share."""
        if self._taken[whose] >= self._most:
            raise ResourceExhausted(
                Reason.SERVER_BUSY, f"you have {self._most} calls under way here already", retry_after_s=1.0
            )
        self._taken[whose] += 1

    def give(self, whose: str) -> None:
        """One less."""
        self._taken[whose] -= 1
        if not self._taken[whose]:
            del self._taken[whose]
