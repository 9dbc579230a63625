"""The use case of generating: checks that the models may be used, and asks one after the other until one answers."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Any

from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.kit.owner import Platform, Tenant
from tenantry.models import faults
from tenantry.models.attempts import Attempts, Payer
from tenantry.models.generation import Ask, Result, Target
from tenantry.models.holdings import Reaches
from tenantry.models.limits import MARGIN_S, limits_of
from tenantry.models.model import Model, Owner, tenant_of
from tenantry.models.routing import Reach, require
from tenantry.models.sealing import Seal
from tenantry.models.slots import Standing


class Generating:
    """Answers for the caller's tenant, with the credentials that the tenant has or the platform has for it."""

    def __init__(self, reaches: Reaches, seal: Seal, attempts: Attempts, clock: Clock) -> None:
        self._reaches = reaches
        self._seal = seal
        self._attempts = attempts
        self._clock = clock

    async def generate(
        self,
        tenant: Tenant,
        key_models: Collection[str],
        models: Sequence[str],
        ask: Ask,
        receipt: Any,
        *,
        stream: bool,
        deadline: float | None,
    ) -> AsyncGenerator[str | Model | Standing | Result, None]:
        """Deltas of the answer and its result, of the first of `models` that begins to answer; before them where the call stands
        while it waits, and a fallback's model.

        `receipt` is the hold's that the calls are made under; `deadline` is in the clock's monotonic seconds. When all fail,
        the error is the first one's.
        """
        reach = await self._reaches.of(tenant, key_models)
        candidates = [require(reach, model) for model in models]
        first: TenantryError | None = None
        for place, model in enumerate(candidates):
            left = self._left(deadline)
            limits = limits_of(left, len(candidates) - place, stream=stream)
            answered = False
            try:
                target, credential = self._target(tenant, reach, model)
                payer = Payer(tenant.id, receipt, credential)
                attempt = self._attempts.make(model, target, payer, ask, limits, stream=stream)
                async with aclosing(attempt) as pieces:
                    async for piece in pieces:
                        if not isinstance(piece, Standing):
                            if place and not answered:
                                yield model
                            answered = True
                        yield piece
                return
            except TenantryError as error:
                first = first or error
                left = self._left(deadline)
                if answered or (left is not None and left <= MARGIN_S):
                    raise
        raise first or faults.out_of_time()

    def _left(self, deadline: float | None) -> float | None:
        return None if deadline is None else deadline - self._clock.monotonic()

    def _target(self, tenant: Tenant, reach: Reach, model: Model) -> tuple[Target, str]:
        """Where the model is and the credential to show there; and whose that is.

        The tenant's own credential goes first. The platform's is used only for a model that an operator registered: a
        tenant's admin could register any model at any price.
        """
        owners: list[tuple[Owner, bytes | None]] = [(tenant, reach.own.credentials.get(model.account))]
        if model.by_operator:
            owners.append((Platform(), reach.platform.credentials.get(model.account)))
        for owner, sealed in owners:
            if sealed is not None:
                credential = self._seal.open(owner, model.account, sealed)
                return Target(model.provider, model.provider_model, model.base_url, credential), tenant_of(owner)
        if not reach.has_credential(model):
            raise faults.no_credential(model.provider)
        return Target(model.provider, model.provider_model, model.base_url), ""
