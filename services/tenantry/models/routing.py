"""Which model answers: a pure rule of what the tenant can reach, its policy and what its key is restricted to."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tenantry.kit.errors import FailedPrecondition, NotFound, PermissionDenied, Reason
from tenantry.models.model import EXTRACTIVE, Holdings, Model, Policy, Provider

# How many candidates are explained one by one; a platform may have hundreds.
MOST_REASONS = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """The model, those to try next, and a sentence a candidate."""

    model: Model
    fallbacks: tuple[Model, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """What one caller can reach: the platform's models, the tenant's own, its policy, and its key's models."""

    platform: Holdings
    own: Holdings
    key_models: Collection[str] = ()

    def find(self, model: str) -> Model | None:
        """The model of this id, if the tenant can reach it."""
        if model == EXTRACTIVE.model:
            return EXTRACTIVE
        return self.own.models.get(model) or self.platform.models.get(model)

    def has_credential(self, model: Model) -> bool:
        """Whether there is a credential to show for it, or it may want none: the built-in one, or a server of one's own."""
        if model.provider is Provider.EXTRACTIVE or model.base_url or model.account in self.own.credentials:
            return True
        return model.by_operator and model.account in self.platform.credentials

    def all(self) -> Iterable[Model]:
        """All models that the tenant can reach."""
        yield EXTRACTIVE
        yield from self.platform.models.values()
        yield from self.own.models.values()


def denial(model: Model, policy: Policy, key_models: Collection[str]) -> str:
    """Why the model may not be used, "" when it may."""
    if key_models and model.model not in key_models:
        return "the key is not allowed it"
    if model.model in policy.denied_models:
        return "the policy denies it"
    if policy.allowed_models and model.model not in policy.allowed_models:
        return "the policy does not name it among the allowed models"
    if policy.allowed_providers and model.provider not in policy.allowed_providers:
        return f"the policy does not allow the provider {model.provider}"
    # The built-in one runs where the documents are: nothing leaves for another region.
    if policy.allowed_regions and model is not EXTRACTIVE and model.region not in policy.allowed_regions:
        return f"the policy does not allow the region {model.region}" if model.region else "its region is not known"
    return ""


def require(reach: Reach, model: str) -> Model:
    """The model, if it can be reached and is allowed. NotFound, PermissionDenied."""
    found = reach.find(model)
    if found is None:
        raise NotFound(Reason.NOT_FOUND, "there is no such model", kind="model")
    why = denial(found, reach.own.policy, reach.key_models)
    if why:
        raise PermissionDenied(Reason.MODEL_DENIED, f"the model {model} may not be used: {why}", model=model)
    return found


def select(reach: Reach, wanted: str) -> Choice:
    """The wanted model, else the preferred one, else the cheapest that is allowed; the built-in one when there is no other.

    FailedPrecondition when none fits.
    """
    if wanted:
        chosen = require(reach, wanted)
        return Choice(chosen, _fallbacks(reach, chosen), (f"{wanted}: chosen, since the request names it",))
    policy = reach.own.policy
    reasons: list[str] = []
    allowed: list[Model] = []
    for model in sorted(reach.all(), key=lambda model: _place(reach, model)):
        why = denial(model, policy, reach.key_models)
        if not why:
            allowed.append(model)
        elif len(reasons) < MOST_REASONS:
            reasons.append(f"{model.model}: not chosen: {why}")
    if not allowed:
        raise FailedPrecondition(Reason.NO_MODEL, "no model that the tenant can reach fits its policy and the key")
    chosen = next((model for model in allowed if model.model == policy.preferred_model), None)
    if policy.preferred_model and reach.find(policy.preferred_model) is None:
        reasons.append(f"{policy.preferred_model}: not chosen: preferred, but no longer registered")
    why = "the policy prefers it"
    if chosen is None:
        chosen = allowed[0]
        why = "no other can be used" if chosen is EXTRACTIVE else "it is the cheapest that is allowed"
    others = [f"{one.model}: not chosen: {_passed_over(reach, one)}" for one in allowed if one is not chosen]
    told = (f"{chosen.model}: chosen, since {why}", *others[:MOST_REASONS], *reasons)
    return Choice(chosen, _fallbacks(reach, chosen), told)


def _fallbacks(reach: Reach, chosen: Model) -> tuple[Model, ...]:
    policy = reach.own.policy
    found = (reach.find(name) for name in policy.fallback_models if name != chosen.model)
    return tuple(model for model in found if model and not denial(model, policy, reach.key_models))


def _place(reach: Reach, model: Model) -> tuple[bool, bool, int, str]:
    price = model.input_price_micros + model.output_price_micros
    return not reach.has_credential(model), model is EXTRACTIVE, price, model.model


def _passed_over(reach: Reach, model: Model) -> str:
    if not reach.has_credential(model):
        return f"allowed, but there is no credential for {model.provider}"
    return "allowed, but not the first choice"
