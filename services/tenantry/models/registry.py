"""The use cases of the registry: what a tenant can reach, which model is chosen, and what admins may change of it."""

import re
from collections.abc import Collection, Sequence

from tenantry.kit import addresses
from tenantry.kit.errors import AlreadyExists, InvalidArgument, Reason
from tenantry.kit.owner import Tenant
from tenantry.models.holdings import Reaches
from tenantry.models.model import EXTRACTIVE, Model, Owner, Policy, Provider
from tenantry.models.routing import Choice, select
from tenantry.models.sealing import Seal
from tenantry.models.store import ModelStore

_ID = re.compile(r"[a-z0-9._:/-]{1,128}")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PROVIDER_MODEL = re.compile(r"[!-~]{1,256}")
_CREDENTIAL = re.compile(r"[!-~]{1,4096}")
MOST_OUTPUT_TOKENS = 100_000
# A million tokens for a million dollars.
MOST_PRICE_MICROS = 10**12
MOST_IN_POLICY = 100
MOST_FALLBACKS = 4
Wrong = list[tuple[str, str]]


class Registry:
    """`loopback` allows providers over http on this machine, for development and tests."""

    def __init__(self, store: ModelStore, reaches: Reaches, seal: Seal, *, loopback: bool) -> None:
        self._store = store
        self._reaches = reaches
        self._seal = seal
        self._loopback = loopback

    async def models(self, tenant: Tenant, key_models: Collection[str], after: str, most: int) -> list[Model]:
        """Up to `most` models that the tenant can reach, whose ids sort after `after`."""
        reach = await self._reaches.of(tenant, key_models)
        return sorted((one for one in reach.all() if one.model > after), key=lambda one: one.model)[:most]

    async def select(self, tenant: Tenant, key_models: Collection[str], wanted: str) -> Choice:
        """The model that answers, and why. NotFound, PermissionDenied, FailedPrecondition."""
        return select(await self._reaches.of(tenant, key_models), check_id(wanted, "model") if wanted else "")

    async def register(self, owner: Owner, model: Model) -> Model:
        """Registers a model for all tenants or for one. The same again changes nothing."""
        wrong = _faults_of(model, loopback=self._loopback)
        if wrong:
            raise InvalidArgument.many(wrong)
        if model.model == EXTRACTIVE.model:
            raise AlreadyExists(Reason.ALREADY_EXISTS, "the id is the built-in model's", kind="model")
        await self._store.register(owner, model)
        self._reaches.forget(owner)
        return model

    async def deregister(self, owner: Owner, model: str) -> bool:
        """Removes a model; False when there was none. The built-in one stays: a policy can deny it."""
        removed = await self._store.deregister(owner, check_id(model, "model"))
        self._reaches.forget(owner)
        return removed

    async def policy(self, tenant: Tenant) -> tuple[Policy, int]:
        """The tenant's policy and its version."""
        holdings = await self._store.load(tenant)
        return holdings.policy, holdings.version

    async def update_policy(self, tenant: Tenant, policy: Policy, version: int) -> int:
        """Replaces the policy that has this version, and gives the new version. Aborted."""
        wrong = _policy_faults(policy)
        if version < 0:
            wrong.append(("version", "is below 0"))
        reach = await self._reaches.of(tenant, ())
        named = [("policy.preferred_model", policy.preferred_model)] if policy.preferred_model else []
        named += [("policy.fallback_models", model) for model in policy.fallback_models]
        wrong += [(field, "names a model that the tenant can't reach") for field, one in named if not reach.find(one)]
        if wrong:
            raise InvalidArgument.many(wrong)
        changed = await self._store.put_policy(tenant, policy, version)
        self._reaches.forget(tenant)
        return changed

    async def set_credential(self, owner: Owner, provider: Provider, base_url: str, credential: str) -> None:
        """Sets the credential for one provider at one address; an empty one removes it."""
        wrong: Wrong = []
        if provider is Provider.EXTRACTIVE:
            wrong.append(("provider", "is built in and has no credential"))
        if base_url and (fault := addresses.fault_of(base_url, loopback=self._loopback)):
            wrong.append(("base_url", fault))
        if credential and not _CREDENTIAL.fullmatch(credential):
            wrong.append(("credential", "is longer than 4096 characters or has others than visible ASCII"))
        if wrong:
            raise InvalidArgument.many(wrong)
        account = (provider, base_url)
        sealed = self._seal.close(owner, account, credential) if credential else None
        await self._store.put_credential(owner, account, sealed)
        self._reaches.forget(owner)

    async def provision(self, tenant: Tenant, tier: str) -> str:
        """Begins to serve the tenant."""
        made = await self._store.add_tenant(tenant, tier)
        return "gave it the built-in model" if made else "nothing to do"

    async def deprovision(self, tenant: Tenant) -> str:
        """Deletes the tenant's models, policy and credentials."""
        deleted = await self._store.remove_tenant(tenant)
        self._reaches.forget(tenant)
        return "nothing to do" if deleted is None else f"deleted {deleted} models, the policy and the credentials"


def check_id(model: str, field: str) -> str:
    """The text itself when it may be a model's id."""
    if not model:
        raise InvalidArgument(field, "is missing")
    if not _ID.fullmatch(model):
        raise InvalidArgument(field, "is not 1 to 128 of a-z, 0-9 and ._:/-")
    return model


def _faults_of(model: Model, *, loopback: bool) -> Wrong:
    wrong: Wrong = []
    if not _ID.fullmatch(model.model):
        wrong.append(("model.model", "is not 1 to 128 of a-z, 0-9 and ._:/-"))
    if not _PROVIDER_MODEL.fullmatch(model.provider_model):
        wrong.append(("model.provider_model", "is not 1 to 256 visible ASCII characters"))
    if model.base_url and model.provider is Provider.EXTRACTIVE:
        wrong.append(("model.base_url", "is not for the built-in provider"))
    elif model.base_url and (fault := addresses.fault_of(model.base_url, loopback=loopback)):
        wrong.append(("model.base_url", fault))
    if model.region and not _REGION.fullmatch(model.region):
        wrong.append(("model.region", "is not 1 to 63 of a-z, 0-9 and inner hyphens"))
    for name in ("input_price_micros", "output_price_micros", "cached_input_price_micros"):
        if not 0 <= getattr(model, name) <= MOST_PRICE_MICROS:
            wrong.append((f"model.{name}", f"is not within 0 and {MOST_PRICE_MICROS}"))
    if not 1 <= model.max_output_tokens <= MOST_OUTPUT_TOKENS:
        wrong.append(("model.max_output_tokens", f"is not within 1 and {MOST_OUTPUT_TOKENS}"))
    return wrong


def _policy_faults(policy: Policy) -> Wrong:
    wrong: Wrong = []
    lists: list[tuple[str, Sequence[str], int, re.Pattern[str]]] = [
        ("allowed_providers", policy.allowed_providers, MOST_IN_POLICY, _ID),
        ("allowed_models", policy.allowed_models, MOST_IN_POLICY, _ID),
        ("denied_models", policy.denied_models, MOST_IN_POLICY, _ID),
        ("allowed_regions", policy.allowed_regions, MOST_IN_POLICY, _REGION),
        ("fallback_models", policy.fallback_models, MOST_FALLBACKS, _ID),
    ]
    for name, values, most, form in lists:
        if len(values) > most:
            wrong.append((f"policy.{name}", f"has more than {most}"))
        elif len(set(values)) != len(values):
            wrong.append((f"policy.{name}", "names one twice"))
        elif not all(form.fullmatch(value) for value in values):
            wrong.append((f"policy.{name}", "holds one of the wrong form"))
    return wrong
