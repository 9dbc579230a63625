"""How long one attempt may take: a pure rule of the time that is left and the attempts that may still be needed."""

from dataclasses import dataclass

CONNECT_S = 5.0
FIRST_TOKEN_S = 60.0
STALL_S = 30.0
# Kept from the caller's own deadline, so that the error with what was used still reaches it.
MARGIN_S = 0.05
# Without a deadline of the caller's.
LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for connecting, until the first token, between tokens, and in all."""

    connect_s: float
    first_token_s: float
    stall_s: float
    total_s: float


def limits_of(left_s: float | None, attempts: int, *, stream: bool) -> Limits:
    """The limits of the next of `attempts` attempts that have `left_s` together.

    Until its first token an attempt may use its share of the time, so that the later ones still have theirs. An answer
    that is not streamed has one token, the last.
    """
    total = max(0.0, (LONGEST_S if left_s is None else left_s) - MARGIN_S)
    share = total / max(attempts, 1)
    first = min(share, FIRST_TOKEN_S) if stream else share
    return Limits(min(CONNECT_S, first), first, STALL_S, total)
