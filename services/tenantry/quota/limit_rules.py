"""Which limits apply to a request: the tenant's own, its organisation's, and the rules that its key, end user and model match.

All of them apply together, each with counters of its own. Of rules for end users, one that names the user replaces what one
for "*" (each user by itself) sets; both may narrow a key or a model as well.
"""

from dataclasses import dataclass, fields

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.owner import Tenant
from tenantry.quota import keys
from tenantry.quota.entries import NO_OVERRIDES, Limits, Rule, Rules, Subject
from tenantry.quota.gcra import MOST_AMOUNT

# Of one tenant, and of one organisation.
MOST_RULES = 1_000
EACH = "*"
MOST_BUDGET = 10**14
MOST = Limits(
    1_000_000,
    1_000_000,
    MOST_AMOUNT,
    MOST_AMOUNT,
    100_000,
    MOST_AMOUNT,
    MOST_AMOUNT,
    MOST_AMOUNT,
    MOST_AMOUNT,
    MOST_BUDGET,
    MOST_BUDGET,
    MOST_BUDGET,
    MOST_BUDGET,
)
NAMES = tuple(field.name for field in fields(Limits))
_BURSTS = (
    ("requests_per_minute", "request_burst"),
    ("tokens_per_minute", "token_burst"),
    ("input_tokens_per_minute", "input_token_burst"),
    ("output_tokens_per_minute", "output_token_burst"),
)


@dataclass(frozen=True, slots=True)
class About:
    """What of a request rules may narrow; an end user may be unnamed: ""."""

    key_id: str
    end_user: str
    model: str


def subjects(
    owner: Tenant, own: Limits, tenant_rules: Rules, organisation_rules: Rules, about: About
) -> tuple[Subject, ...]:
    """Everything whose limits apply to the request, the tenant itself first."""
    found = [Subject(keys.counters_field(owner), f"tenant:{owner.id}", own, local=True)]
    if tenant_rules:
        found += _matching(owner, tenant_rules, about)
    if organisation_rules:
        found += _matching(Tenant(owner.organisation, ""), organisation_rules, about)
    return tuple(found)


def laid_over(own: Limits, usual: Limits) -> Limits:
    """The limits of `own`, and those of `usual` where it has none."""
    return Limits(*(getattr(own, name) or getattr(usual, name) for name in NAMES))


def check_limits(limits: Limits, field: str) -> list[tuple[str, str]]:
    """What is wrong with limits that stand in `field` of a request."""
    return [
        (f"{field}.{name}", f"is not within 0 and {getattr(MOST, name)}")
        for name in NAMES
        if not 0 <= getattr(limits, name) <= getattr(MOST, name)
    ]


def check_bursts(limits: Limits, field: str) -> list[tuple[str, str]]:
    """A rate without a burst admits nothing, and a burst without a rate is never filled again."""
    wrong: list[tuple[str, str]] = []
    for rate, burst in _BURSTS:
        if getattr(limits, rate) and not getattr(limits, burst):
            wrong.append((f"{field}.{burst}", f"is missing beside {rate}"))
        if getattr(limits, burst) and not getattr(limits, rate):
            wrong.append((f"{field}.{rate}", f"is missing beside {burst}"))
    return wrong


def check_rule(rule: Rule) -> None:
    """Refuse a rule that is out of range, limits nothing, or is about nothing that a rule may be about."""
    wrong = check_subject(rule.owner, rule.key_id, rule.end_user, rule.model)
    wrong += check_limits(rule.limits, "limits") or check_bursts(rule.limits, "limits")
    if rule.limits == NO_OVERRIDES:
        wrong.append(("limits", "is empty: a rule limits something"))
    if wrong:
        raise InvalidArgument.many(wrong)


def check_subject(owner: Tenant, key_id: str, end_user: str, model: str) -> list[tuple[str, str]]:
    """What is wrong with the subject of a rule."""
    wrong: list[tuple[str, str]] = []
    if owner.id and not (key_id or end_user or model):
        wrong.append(("key_id", "is missing, as are end_user and model: a tenant's own limits are its overrides"))
    for field, text in (("key_id", key_id), ("end_user", end_user), ("model", model)):
        if len(text.encode()) > 128:
            wrong.append((field, "is longer than 128 bytes"))
        if "\0" in text:
            wrong.append((field, "holds a NUL"))
    return wrong


def subject_of(rule: Rule, end_user: str = "") -> Subject:
    """The subject whose counters a rule's are, for "*" those of one `end_user`."""
    owner, user = rule.owner, end_user if rule.end_user == EACH else rule.end_user
    shown = [
        f"{kind}:{part}" for kind, part in (("key", rule.key_id), ("end_user", user), ("model", rule.model)) if part
    ]
    whose = f"tenant:{owner.id}" if owner.id else f"organisation:{owner.organisation}"
    field = keys.counters_field(owner, rule.key_id, user, rule.model)
    if rule.end_user != EACH:
        return Subject(field, " ".join((whose, *shown)), rule.limits, local=bool(owner.id))
    crowd, others = keys.counters_field(owner), keys.others_field(owner, rule.key_id, rule.model)
    return Subject(field, " ".join((whose, *shown)), rule.limits, bool(owner.id), crowd, others)


def _matching(owner: Tenant, known: Rules, about: About) -> list[Subject]:
    """At most eight: a rule is found by what it is about, however many there are."""
    found: list[Subject] = []
    for key_id in _or_any(about.key_id):
        for model in _or_any(about.model):
            if rule := known.get((key_id, "", model)):
                found.append(subject_of(rule))
            if not about.end_user:
                continue
            each = known.get((key_id, EACH, model))
            named = known.get((key_id, about.end_user, model)) if about.end_user != EACH else None
            if named and each:
                named = Rule(owner, key_id, about.end_user, model, laid_over(named.limits, each.limits))
            if rule := named or each:
                found.append(subject_of(rule, about.end_user))
    return found


def _or_any(part: str) -> tuple[str, ...]:
    return ("", part) if part else ("",)
