"""How a pool's room follows its provider: additive increase, multiplicative decrease.

Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks" (1989):
of the linear controls only this one comes to a fair and efficient share, whatever the others do. As in TCP the room is
halved at most once for the calls of one flight, since they all met the same congestion; it grows by a hundredth of the
capacity (a seat at least) whenever as much as the whole room was answered well. A Retry-After also holds grants back.
"""

from dataclasses import dataclass

from tenantry.quota.slot import MOST_RETRY_AFTER_US, PoolSettings

_STEPS = 100


@dataclass(slots=True)
class Room:
    """`limit` is 0 while all of the capacity may be used; `answered` is what was answered since the limit last grew;
    `cut_us` is when it was last halved, `held_until_us` until when nothing is granted."""

    limit: int = 0
    answered: int = 0
    cut_us: int = 0
    held_until_us: int = 0


def room_of(room: Room, settings: PoolSettings) -> int:
    """How much may be in use now."""
    return min(room.limit, settings.capacity) if settings.adaptive and room.limit else settings.capacity


def held_us(room: Room, settings: PoolSettings, now_us: int) -> int:
    """How long grants are still held back."""
    return max(0, room.held_until_us - now_us) if settings.adaptive else 0


def throttled(room: Room, settings: PoolSettings, now_us: int, granted_us: int, retry_after_us: int) -> None:
    """The provider refused a call, which was granted at `granted_us`, for its rate."""
    if granted_us >= room.cut_us:
        room.limit = max(1, room_of(room, settings) // 2)
        room.answered = 0
        room.cut_us = now_us
    room.held_until_us = max(room.held_until_us, now_us + min(retry_after_us, MOST_RETRY_AFTER_US))


def answered(room: Room, settings: PoolSettings, size: int) -> None:
    """The provider answered a call of this size."""
    if room.limit == 0:
        return
    room.answered += size
    if room.answered >= room.limit:
        room.answered = 0
        room.limit += max(1, settings.capacity // _STEPS)
        if room.limit >= settings.capacity:
            room.limit = 0
