"""How long an attempt at a provider may take, from the deadline of the call and what is left to try. Pure."""

from dataclasses import dataclass

# Kept back from the deadline, so that the failure and what was used still reach the caller.
_MARGIN_S = 0.1
_FIRST_SHARE = 2 / 3


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that connecting, the wait for the first token, and a whole call may take, however late the deadline is."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Times:
    """What one attempt may take. `shortened`: the caller's deadline decides, so that lateness is not the provider's fault."""

    connect_s: float
    first_token_s: float
    total_s: float
    shortened: bool


def times(ceilings: Ceilings, remaining_s: float | None, more_to_try: bool, streaming: bool) -> Times | None:
    """The times of the next attempt; None when no time is left. While fallbacks remain, an attempt that has not begun to
    answer gives up after two thirds of what is left, so that they get their turn."""
    left = ceilings.total_s if remaining_s is None else remaining_s - _MARGIN_S
    if left <= 0:
        return None
    share = left * _FIRST_SHARE if more_to_try else left
    # Without streaming the first token is the whole answer.
    ceiling = ceilings.first_token_s if streaming else ceilings.total_s
    first = min(ceiling, share)
    total = min(ceilings.total_s, left)
    return Times(min(ceilings.connect_s, first), first, total, first < ceilings.first_token_s)
