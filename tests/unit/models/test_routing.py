"""The choice of a model: what the policy and the key allow, which is preferred, what is tried next, and why."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.errors import FailedPrecondition, NotFound, PermissionDenied, Reason
from tenantry.models.model import EXTRACTIVE, Account, Holdings, Model, Policy, Provider
from tenantry.models.routing import Choice, Reach, denial, require, select

CHEAP = Model("cheap", Provider.OPENAI, "c", region="us", input_price_micros=1, output_price_micros=1)
DEAR = Model("dear", Provider.ANTHROPIC, "d", region="eu", input_price_micros=90, output_price_micros=90)
TUNED = Model("tuned", Provider.OPENAI, "t", "acme", region="eu", input_price_micros=50, output_price_micros=50)


SEALED = {CHEAP.account: b"sealed", DEAR.account: b"sealed"}


def reach(
    policy: Policy | None = None, key_models: tuple[str, ...] = (), credentials: Mapping[Account, bytes] = SEALED
) -> Reach:
    platform = Holdings({"cheap": CHEAP, "dear": DEAR}, Policy(), 0, credentials)
    return Reach(platform, Holdings({"tuned": TUNED}, policy or Policy(), 1, {}), key_models)


def reason_for(choice: Choice, model: str) -> str:
    (found,) = [one for one in choice.reasons if one.startswith(f"{model}:")]
    return found


def test_without_a_policy_the_cheapest_is_chosen_and_every_candidate_has_its_reason() -> None:
    choice = select(reach(), "")
    assert choice.model is CHEAP and choice.fallbacks == ()
    assert {one.partition(":")[0] for one in choice.reasons} == {"extractive", "cheap", "dear", "tuned"}
    assert "cheapest" in reason_for(choice, "cheap")


def test_without_any_credential_the_built_in_model_is_chosen() -> None:
    choice = select(reach(credentials={}), "")
    assert choice.model is EXTRACTIVE and "no other" in reason_for(choice, "extractive")
    assert "no credential for openai" in reason_for(choice, "cheap")


def test_a_tenants_own_model_does_not_use_the_platforms_credential() -> None:
    assert reach().has_credential(CHEAP) and not reach().has_credential(replace(CHEAP, by_operator=False))


def test_a_preferred_model_without_a_credential_is_chosen_still_so_that_its_absence_is_seen() -> None:
    assert select(reach(Policy(preferred_model="dear"), credentials={}), "").model is DEAR


def test_the_preferred_model_goes_before_the_cheapest() -> None:
    choice = select(reach(Policy(preferred_model="tuned")), "")
    assert choice.model is TUNED and "prefers" in reason_for(choice, "tuned")


def test_a_preferred_model_that_is_denied_gives_way_to_the_cheapest_allowed_one() -> None:
    choice = select(reach(Policy(denied_models=("tuned", "extractive"), preferred_model="tuned")), "")
    assert choice.model is CHEAP
    assert "denies" in reason_for(choice, "tuned")


def test_a_preferred_model_that_is_gone_is_explained() -> None:
    assert "registered" in reason_for(select(reach(Policy(preferred_model="gone")), ""), "gone")


@pytest.mark.parametrize(
    ("policy", "keys", "allowed"),
    [
        (Policy(), (), {"extractive", "cheap", "dear", "tuned"}),
        (Policy(allowed_models=("cheap", "gone")), (), {"cheap"}),
        (Policy(denied_models=("cheap",)), (), {"extractive", "dear", "tuned"}),
        (Policy(allowed_models=("cheap",), denied_models=("cheap",)), (), set[str]()),
        (Policy(allowed_providers=(Provider.OPENAI,)), (), {"cheap", "tuned"}),
        (Policy(allowed_providers=(Provider.EXTRACTIVE,)), (), {"extractive"}),
        (Policy(), ("dear", "other"), {"dear"}),
        (Policy(denied_models=("dear",)), ("dear",), set[str]()),
    ],
)
def test_what_is_allowed(policy: Policy, keys: tuple[str, ...], allowed: set[str]) -> None:
    candidates = reach(policy, keys).all()
    assert {one.model for one in candidates if not denial(one, policy, keys)} == allowed


def test_a_region_is_required_where_the_policy_names_regions() -> None:
    policy = Policy(allowed_regions=("eu",))
    assert not denial(TUNED, policy, ()) and not denial(EXTRACTIVE, policy, ()), "the built-in one is everywhere"
    assert "region us" in denial(CHEAP, policy, ())
    assert "not known" in denial(Model("m", Provider.OPENAI, "m"), policy, ())


def test_the_model_asked_for_is_chosen_though_another_is_preferred() -> None:
    choice = select(reach(Policy(preferred_model="tuned", fallback_models=("cheap", "dear"))), "dear")
    assert (choice.model, choice.fallbacks) == (DEAR, (CHEAP,))


def test_a_denied_model_that_is_asked_for_is_permission_denied_and_an_unknown_one_not_found() -> None:
    with pytest.raises(PermissionDenied) as denied:
        select(reach(Policy(denied_models=("dear",))), "dear")
    assert denied.value.reason is Reason.MODEL_DENIED and denied.value.metadata == {"model": "dear"}
    with pytest.raises(PermissionDenied):
        require(reach(key_models=("cheap",)), "dear")
    with pytest.raises(NotFound):
        select(reach(), "globex-tuned")


def test_fallbacks_are_in_the_policys_order_and_only_what_may_be_used() -> None:
    policy = Policy(
        denied_models=("dear",), preferred_model="cheap", fallback_models=("tuned", "gone", "dear", "cheap")
    )
    assert select(reach(policy), "").fallbacks == (TUNED,)


def test_when_none_fits_it_is_said() -> None:
    with pytest.raises(FailedPrecondition) as refused:
        select(reach(Policy(allowed_models=("gone",))), "")
    assert refused.value.reason is Reason.NO_MODEL


NAMES = st.lists(st.sampled_from(["extractive", "cheap", "dear", "tuned", "gone"]), max_size=4, unique=True).map(tuple)


@given(NAMES, NAMES, NAMES, NAMES, st.sampled_from(["", "cheap", "dear", "tuned", "gone"]))
def test_nothing_that_is_denied_is_ever_chosen_or_a_fallback(
    allowed: tuple[str, ...], denied: tuple[str, ...], keys: tuple[str, ...], fallbacks: tuple[str, ...], preferred: str
) -> None:
    policy = Policy(allowed_models=allowed, denied_models=denied, preferred_model=preferred, fallback_models=fallbacks)
    one = reach(policy, keys)
    usable = [model for model in one.all() if not denial(model, policy, keys)]
    try:
        choice = select(one, "")
    except FailedPrecondition:
        assert not usable
        return
    assert choice.model in usable
    assert choice.model not in choice.fallbacks
    assert all(model in usable and model.model in fallbacks for model in choice.fallbacks)
    assert choice == select(one, ""), "the same again"
