"""The pipeline of one request: plan it, hold quota beside the look-up in the cache, then answer from one or the other.

prompt ∥ model ∥ documents' epoch  ->  hold ∥ cache  ->  hit, or another's answer, or one's own production
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

from tenantry.gateway.holding import Hold
from tenantry.gateway.peers import Found, Hit, Lead, Peers, Plan, Use, Wait, Waiting
from tenantry.gateway.production import Complete, Production
from tenantry.gateway.query import Query, check
from tenantry.gateway.settings import Settings
from tenantry.gateway.tokens import Tokens
from tenantry.kit import call, caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, ResourceExhausted, TenantryError

log = logging.getLogger(__name__)

# Answers under way or not settled yet. Beyond that nothing new begins.
MAX_AFTERWARDS = 10_000
# In characters. What is longer is not asked twice, and the cache takes no longer keys.
MAX_CACHED_MESSAGE = 32_000


class Answering:
    """Answers queries; what is still to be settled after an answer is kept until it is done."""

    def __init__(self, peers: Peers, settings: Settings, clock: Clock, tokens: Tokens) -> None:
        self._peers = peers
        self._settings = settings
        self._clock = clock
        self._tokens = tokens
        self._afterwards: set[asyncio.Task[Any]] = set()

    async def answer(self, query: Query, *, streamed: bool) -> AsyncGenerator[str | Waiting | Complete]:
        """The pieces of the answer, then its end. Closing the iterator early is the client going away."""
        if len(self._afterwards) >= MAX_AFTERWARDS:
            raise ResourceExhausted(
                Reason.SERVER_BUSY, "too many answers wait to be settled; try again later", retry_after_s=1.0
            )
        started = self._clock.monotonic()
        plan = await self._plan(check(query))
        hold, found = await self._hold_and_look_up(plan)
        use = Use(prompt=plan.rendered.prompt, prompt_revision=plan.rendered.revision, request_id=caller.request_id())
        try:
            while isinstance(found, Wait):
                found = await self._wait(plan, found)
        except BaseException:
            self._later(hold.settle(None))
            raise
        use.latency_s = self._clock.monotonic() - started
        if isinstance(found, Hit):
            use.cache_hit = True
            answer = found.answer
            use.provider, use.model, use.model_revision = answer.provider, answer.model, answer.model_revision
            try:
                yield answer.text
                yield Complete(answer, use)
            finally:
                self._later(hold.settle(use))
            return
        async with aclosing(self._produce(plan, hold, found, use, streamed=streamed)) as pieces:
            async for piece in pieces:
                yield piece

    async def drain(self) -> None:
        """Waits for what is still to be settled and stored."""
        end = self._clock.monotonic() + self._settings.drain_within_s
        # What ends may leave something else to do: a production that its client left is settled.
        while self._afterwards and (left := end - self._clock.monotonic()) > 0:
            await asyncio.wait(self._afterwards, timeout=left)

    async def _plan(self, query: Query) -> Plan:
        try:
            async with asyncio.TaskGroup() as group:
                rendered = group.create_task(self._peers.render(query))
                model = group.create_task(self._peers.select_model(query.model))
                epoch = group.create_task(self._peers.documents_epoch())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return Plan(query, rendered.result(), model.result(), epoch.result())

    async def _hold_and_look_up(self, plan: Plan) -> tuple[Hold, Found]:
        nonce = secrets.token_hex(16)
        input_tokens = await self._tokens.to_hold(plan)
        looking = asyncio.ensure_future(self._look_up(plan))
        try:
            held = await self._peers.reserve(plan, nonce, input_tokens)
            hold = Hold(self._peers, held, self._clock, self._settings.renew_every_s, self._settings.settle_within_s)
        except BaseException as failure:
            # Refused, or the client went: nobody shall wait for an answer that this request does not make.
            self._later(self._give_up(plan, looking))
            if isinstance(failure, asyncio.CancelledError):
                self._later(self._give_back(plan, nonce, input_tokens))
            raise
        try:
            return hold, await looking
        except BaseException:
            self._later(hold.settle(None))
            self._later(self._give_up(plan, looking))
            raise

    async def _look_up(self, plan: Plan) -> Found:
        if not plan.query.cached or plan.epoch.changing or len(plan.rendered.user) > MAX_CACHED_MESSAGE:
            return Lead("")
        try:
            found = await self._peers.look_up(plan)
        except TenantryError as error:
            log.info("the cache is passed over", extra={"reason": error.reason.value})
            return Lead("")
        if isinstance(found, Hit) and found.epoch != plan.epoch.number:
            return Lead("")
        return found

    async def _give_up(self, plan: Plan, looking: "asyncio.Future[Found]") -> None:
        try:
            found = await looking
            if isinstance(found, Lead | Wait) and found.handle:
                with call.detached():
                    await self._peers.abandon(plan, found.handle, keep_if_awaited=False)
        except TenantryError as error:
            log.info("a flight ends by itself", extra={"reason": error.reason.value})

    async def _give_back(self, plan: Plan, nonce: str, input_tokens: int) -> None:
        """Releases a hold whose receipt did not arrive: the same nonce gets it, or one that is released at once too."""
        try:
            with call.detached():
                held = await self._peers.reserve(plan, nonce, input_tokens)
                await self._peers.release(held.receipt)
        except TenantryError as error:
            log.info("a hold ends by itself", extra={"reason": error.reason.value})

    async def _wait(self, plan: Plan, found: Wait) -> Found:
        try:
            waited = await self._peers.wait_for(plan, found.handle)
        except TenantryError as error:
            log.info("the cache is passed over", extra={"reason": error.reason.value})
            return Lead("")
        if isinstance(waited, Hit) and waited.epoch != plan.epoch.number:
            return Lead("")
        return waited

    async def _produce(
        self, plan: Plan, hold: Hold, lead: Lead, use: Use, *, streamed: bool
    ) -> AsyncGenerator[str | Waiting | Complete]:
        production = Production(self._peers, plan, hold, lead.handle, use, self._clock, self._tokens, streamed)
        self._keep(production.task)
        ended = False
        try:
            while True:
                piece = await production.next()
                ended = isinstance(piece, Complete)
                yield piece
                if ended:
                    return
        except TenantryError:
            ended = True
            raise
        finally:
            if not ended:
                self._later(production.client_gone())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.create_task(work))

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)
