"""Who was refused what, gathered in bounded memory by kind and delivered in the background, never on a request's path.

The first refusal of a kind goes out at the next flush; equal ones in the same minute follow as one with their count. A log
gets so many kinds a minute; what is beyond them is counted under `Others`, so that a flood is seen and fills no disk.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, replace

from tenantry.kit import call
from tenantry.kit.access import Access
from tenantry.kit.audit import AT_ONCE, Deliver, Record
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import DeadlineExceeded, TenantryError, Unavailable
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Owner, Platform, owner_by

log = logging.getLogger(__name__)

# Kinds a minute in one log.
A_MINUTE = 60
# Kinds a minute in all logs, and records that wait for tenancy.
MOST = 1000
OTHERS = "Others"
# What an administrator did wrong, as against a slip of the pen or a fault of ours.
OF_ADMINISTRATORS = frozenset({"NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"})
OF_ALL = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_EVERY_S = 0.5
_MINUTE_S = 60.0
_LAST_S = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of refusal: in whose log, of whom, of what. Whom nobody proved himself to be is in the platform's log."""

    whose: Owner
    principal: str
    action: str
    subject: str
    outcome: str
    reason: str = ""


def refusal_of(
    action: str, access: Access, caller: Caller | None, identity: str | None, error: TenantryError
) -> Refusal | None:
    """The refusal to note when a call of that RPC ended with the error; None for a slip, a fault, or what is noted."""
    noted = error.code in OF_ALL or (access.audience == "admin" and error.code in OF_ADMINISTRATORS)
    if error.noted or not noted:
        return None
    if caller is not None:
        whose = owner_by(caller.organisation, caller.tenant)
        return Refusal(whose, caller.principal, action, "", error.code, error.reason.value)
    principal = f"service:{identity}" if identity else ""
    return Refusal(Platform(), principal, action, "", error.code, error.reason.value)


def nobody_notes(refusal: Refusal) -> None:
    """For a room alone in a test."""


@dataclass(slots=True)
class _Seen:
    """A kind in this minute: since when, how many were not sent yet, whether the first was."""

    since_ns: int
    count: int = 0
    sent: bool = False


class Refusals:
    """Gathers and delivers. `run` is background work; `close` delivers the last."""

    def __init__(self, deliver: Deliver, clock: Clock) -> None:
        self._deliver = deliver
        self._clock = clock
        self._minute = clock.monotonic()
        self._seen: dict[Refusal, _Seen] = {}
        self._kinds: Counter[Owner] = Counter()
        self._waiting: list[Record] = []

    def note(self, refusal: Refusal) -> None:
        """Remembers a refusal until it is delivered."""
        self._turn()
        for kind in (refusal, _others(refusal, refusal.whose), _others(refusal, Platform())):
            if kind not in self._seen:
                if not self._has_room(kind):
                    continue
                self._seen[kind] = _Seen(self._clock.now_ns())
                self._kinds[kind.whose] += 1
            self._seen[kind].count += 1
            return

    async def flush(self) -> None:
        """Delivers what is new, and what a minute counted. What can't be delivered now is tried again."""
        self._turn()
        for kind, seen in self._seen.items():
            if not seen.sent:
                seen.sent = True
                self._queue(kind, seen)
        while self._waiting:
            batch = self._waiting[:AT_ONCE]
            try:
                await self._deliver(batch)
            except (Unavailable, DeadlineExceeded):
                raise
            except TenantryError:
                del self._waiting[: len(batch)]  # It would be refused for ever.
                raise
            del self._waiting[: len(batch)]

    async def run(self) -> None:
        """Flushes for ever, and once more at the end."""
        failing = False
        try:
            while True:
                await self._clock.sleep(_EVERY_S)
                try:
                    await self.flush()
                    failing = False
                except TenantryError as error:
                    if not failing:
                        log.warning("refusals can't be entered in the audit log: %s", error.message)
                    failing = True
        finally:
            await asyncio.shield(self.close())

    async def close(self) -> None:
        """Delivers what is left, if that is possible in a moment."""
        # The deadline is for the channel, which then doesn't wait to try again.
        last = call.Call(deadline=self._clock.monotonic() + _LAST_S)
        try:
            with call.entered(last):
                async with asyncio.timeout(_LAST_S):
                    await self.flush()
        except (TenantryError, TimeoutError):
            log.warning("%d refusals were lost from the audit log", len(self._waiting))

    def _turn(self) -> None:
        """With each minute, the kinds begin anew."""
        if self._clock.monotonic() - self._minute < _MINUTE_S:
            return
        self._minute = self._clock.monotonic()
        for kind, seen in self._seen.items():
            self._queue(kind, seen)
        self._seen.clear()
        self._kinds.clear()

    def _has_room(self, kind: Refusal) -> bool:
        if kind.action == OTHERS:
            return isinstance(kind.whose, Platform) or len(self._seen) < 2 * MOST
        return self._kinds[kind.whose] < A_MINUTE and len(self._seen) < MOST

    def _queue(self, kind: Refusal, seen: _Seen) -> None:
        if seen.count == 0:
            return
        if len(self._waiting) < MOST:
            self._waiting.append(
                Record(
                    new_id("refused"),
                    kind.whose,
                    seen.since_ns,
                    kind.principal,
                    kind.action,
                    kind.subject,
                    kind.outcome,
                    kind.reason,
                    seen.count,
                )
            )
        else:
            log.warning("the audit log lacks %d refusals: tenancy has been away for too long", seen.count)
        seen.count = 0


def _others(refusal: Refusal, whose: Owner) -> Refusal:
    return replace(refusal, whose=whose, principal="", action=OTHERS, subject="")
