"""How a refusal is told: every limit that refuses, its value, what is used of it, and when to come back."""

from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.quota import counters
from tenantry.quota.budgets import NEVER
from tenantry.quota.entries import Demand, Full, Limits, Refused, Subject

# Nobody knows when a running request ends.
CROWDED_RETRY_S = 1.0
_UNITS = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "input_tokens_per_minute": "input tokens a minute",
    "output_tokens_per_minute": "output tokens a minute",
    "tokens_per_day": "tokens a day",
    "tokens_per_month": "tokens a month",
    "cost_micros_per_day": "US dollars a day",
    "cost_micros_per_month": "US dollars a month",
    "concurrent_requests": "concurrent requests",
}
_REASONS = {
    "requests_per_minute": Reason.REQUESTS_PER_MINUTE,
    "tokens_per_day": Reason.TOKENS_BUDGET,
    "tokens_per_month": Reason.TOKENS_BUDGET,
    "cost_micros_per_day": Reason.COST_BUDGET,
    "cost_micros_per_month": Reason.COST_BUDGET,
    "concurrent_requests": Reason.CONCURRENT_REQUESTS,
}


def refusal(refused: Refused, demand: Demand) -> ResourceExhausted:
    """Says when all limits would admit the request, if they ever would."""
    error = _refusal([(full, demand.subjects[full.subject]) for full in refused.limits])
    error.metadata |= _figures(refused.limits, demand)
    return error


def _refusal(told: list[tuple[Full, Subject]]) -> ResourceExhausted:
    violations = [(subject.shown, _violation(full, subject.limits)) for full, subject in told]
    for full, subject in told:
        if full.wait_us == NEVER:
            message = f"the request alone is larger than the limit of {_limit(full, subject.limits)} of {subject.shown}"
            return ResourceExhausted(Reason.LARGER_THAN_LIMIT, message, violations=violations)
    first, subject = told[0]
    message = f"the limit of {_limit(first, subject.limits)} of {subject.shown} is reached"
    reason = _REASONS.get(first.measure, Reason.TOKENS_PER_MINUTE)
    longest = max(_wait_s(full) for full, _ in told)
    return ResourceExhausted(reason, message, retry_after_s=longest, violations=violations)


def value_of(limits: Limits, measure: str) -> tuple[int, int]:
    """A limit's value, and its burst if it is a rate, else 0."""
    if measure in counters.RATES:
        return limits.rates[counters.RATES.index(measure)]
    return getattr(limits, measure), 0


def _limit(full: Full, limits: Limits) -> str:
    value, burst = value_of(limits, full.measure)
    at_once = f", {burst} at once" if burst else ""
    return f"{_amount(full.measure, value)} {_UNITS[full.measure]}{at_once}"


def _violation(full: Full, limits: Limits) -> str:
    used = f"{_limit(full, limits)}; {_amount(full.measure, full.used)} used"
    if full.wait_us == NEVER:
        return f"{used}; the request alone is larger"
    return used if full.wait_us == 0 else f"{used}; again in {full.wait_us / 1e6:.3f} s"


def _amount(measure: str, value: int) -> str:
    return f"{value / 1e6:.6f}".rstrip("0").rstrip(".") if measure.startswith("cost") else str(value)


def _wait_s(full: Full) -> float:
    return CROWDED_RETRY_S if full.measure == counters.CONCURRENT else full.wait_us / 1e6


def _figures(limits: tuple[Full, ...], demand: Demand) -> dict[str, str]:
    """What clients of OpenAI read of the nearest limit of requests and of tokens: its value, what is left, and when."""
    figures: dict[str, str] = {}
    for kind, prefixes in (("requests", ("requests_", "concurrent_")), ("tokens", ("tokens_", "input_", "output_"))):
        found = [full for full in limits if full.measure.startswith(prefixes)]
        if not found:
            continue
        worst = max(found, key=lambda full: (full.wait_us == NEVER, _wait_s(full)))
        value, burst = value_of(demand.subjects[worst.subject].limits, worst.measure)
        figures[f"limit_{kind}"] = str(value)
        figures[f"remaining_{kind}"] = str(max(0, (burst or value) - worst.used))
        if worst.wait_us != NEVER:
            figures[f"reset_{kind}"] = f"{_wait_s(worst):.3f}s"
    return figures
