"""What a model, a policy and a tenant's holdings are: values without behaviour, in the words of the contract."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache

from tenantry.kit.owner import Platform, Tenant

Owner = Tenant | Platform


class Provider(StrEnum):
    """A kind of API, by the name that spans and the ledger have for it."""

    EXTRACTIVE = "extractive"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model; prices are for a million tokens. `tenant` is "" for all tenants. `by_operator` is true when an
    operator registered it: only then may the platform's credentials be used for it."""

    model: str
    provider: Provider
    provider_model: str = ""
    tenant: str = ""
    base_url: str = ""
    region: str = ""
    input_price_micros: int = 0
    output_price_micros: int = 0
    max_output_tokens: int = 4096
    by_operator: bool = True
    cached_input_price_micros: int = 0

    @property
    def account(self) -> "Account":
        """Whose credential it wants."""
        return self.provider, self.base_url

    @property
    def revision(self) -> str:
        """The same for the same registration, and another for any other."""
        return _revision(self)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which models a tenant may use, and which it prefers. An empty `allowed_…` allows all."""

    allowed_providers: tuple[Provider, ...] = ()
    allowed_models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    allowed_regions: tuple[str, ...] = ()
    preferred_model: str = ""
    fallback_models: tuple[str, ...] = ()


# A provider's credential is for one address: it is never sent to another.
Account = tuple[Provider, str]


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that one owner has here: models by id, the policy and its version (0 for none), sealed credentials."""

    models: Mapping[str, Model]
    policy: Policy
    version: int
    credentials: Mapping[Account, bytes]


# Reached by every tenant without being registered.
EXTRACTIVE = Model("extractive", Provider.EXTRACTIVE, "extractive", max_output_tokens=4096)
PLATFORM_KEY = "*"


def key_of(owner: Owner) -> str:
    """An owner's key in the change log and in memories: no tenant's id can be `*`."""
    return owner.id if isinstance(owner, Tenant) else PLATFORM_KEY


def tenant_of(owner: Owner) -> str:
    """An owner as rows and the contract have it: a tenant's id, or "" for all tenants."""
    return owner.id if isinstance(owner, Tenant) else ""


@lru_cache(maxsize=4096)
def _revision(model: Model) -> str:
    # The price that came later counts where it is set, so that older models have the revisions they had.
    left_out = {"by_operator"} if model.cached_input_price_micros else {"by_operator", "cached_input_price_micros"}
    fields = [value for name, value in asdict(model).items() if name not in left_out]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]
