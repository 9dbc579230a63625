"""Which limits apply to a request, and which rules there may be."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.owner import Tenant
from tenantry.quota import keys
from tenantry.quota.entries import Limits, Rule, Rules, Subject
from tenantry.quota.limit_rules import MOST, NAMES, About, check_rule, subjects
from tenantry.quota.tiers import TIERS

ACME = Tenant("acme-org", "acme")
ORG = Tenant("acme-org", "")
OWN = TIERS["pro"]
ONE = Limits(concurrent_requests=1)
TWO = Limits(concurrent_requests=2, tokens_per_day=20)


def book(*rules: Rule) -> Rules:
    return {(rule.key_id, rule.end_user, rule.model): rule for rule in rules}


def applying(about: About, *rules: Rule) -> dict[str, Limits]:
    mine = book(*(rule for rule in rules if rule.owner == ACME))
    shared = book(*(rule for rule in rules if rule.owner == ORG))
    return {subject.shown: subject.limits for subject in subjects(ACME, OWN, mine, shared, about)}


def test_all_rules_that_match_apply_together_beside_the_tenants_own() -> None:
    rules = (
        Rule(ACME, "", "", "gpt", ONE),
        Rule(ACME, "key_1", "", "", ONE),
        Rule(ACME, "key_1", "", "gpt", ONE),
        Rule(ACME, "", "ann", "gpt", ONE),
        Rule(ACME, "key_1", "ann", "gpt", ONE),
        Rule(ORG, "", "", "", TWO),
        Rule(ORG, "", "", "gpt", TWO),
    )
    assert list(applying(About("key_1", "ann", "gpt"), *rules)) == [
        "tenant:acme",
        "tenant:acme model:gpt",
        "tenant:acme end_user:ann model:gpt",
        "tenant:acme key:key_1",
        "tenant:acme key:key_1 model:gpt",
        "tenant:acme key:key_1 end_user:ann model:gpt",
        "organisation:acme-org",
        "organisation:acme-org model:gpt",
    ]
    assert list(applying(About("key_2", "", "claude"), *rules)) == ["tenant:acme", "organisation:acme-org"]


def test_of_end_users_each_counts_by_itself_and_a_named_one_replaces_what_it_sets() -> None:
    each, named = Rule(ACME, "", "*", "", TWO), Rule(ACME, "", "ann", "", ONE)
    assert applying(About("", "bob", ""), each, named)["tenant:acme end_user:bob"] == TWO
    merged = Limits(concurrent_requests=1, tokens_per_day=20)
    assert applying(About("", "ann", ""), each, named)["tenant:acme end_user:ann"] == merged
    assert list(applying(About("", "", ""), each, named)) == ["tenant:acme"]


def test_an_end_user_who_calls_himself_each_counts_like_any_other() -> None:
    each = Rule(ACME, "", "*", "", ONE)
    found = subjects(ACME, OWN, book(each), {}, About("", "*", ""))
    assert (found[1].field, found[1].crowd) == ("t4:acmeu1:*", "t4:acme")


def test_who_is_named_by_a_rule_is_no_part_of_the_crowd() -> None:
    rules = book(Rule(ACME, "", "*", "gpt", ONE), Rule(ACME, "", "ann", "gpt", TWO))
    ann, bob = (subjects(ACME, OWN, rules, {}, About("", user, "gpt"))[1] for user in ("ann", "bob"))
    assert (ann.crowd, ann.others) == ("", "")
    assert (bob.crowd, bob.others) == ("t4:acme", keys.others_field(ACME, "", "gpt"))


_part = st.text(alphabet="*ab1:kum", max_size=4)
_names = st.tuples(st.sampled_from(["a", "a1", "1-a"]), _part, _part, _part)


@given(_names, _names)
def test_no_two_subjects_share_counters(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    fields = [keys.counters_field(Tenant("o", tenant), *about) for tenant, *about in (one, other)]
    assert (fields[0] == fields[1]) == (one == other)
    assert keys.counters_field(Tenant("o", "")) not in fields
    others = keys.others_field(Tenant("o", one[0]), one[1], one[3])
    assert others not in fields and others.startswith(keys.counters_field(Tenant("o", one[0])))


@given(_names, _names)
def test_a_tenants_counters_and_no_others_begin_with_its_own(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    own = keys.counters_field(Tenant("o", one[0]))
    assert keys.counters_field(Tenant("o", other[0]), *other[1:]).startswith(own) == (one[0] == other[0])


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (Rule(ACME, "", "", "", ONE), ["key_id"]),
        (Rule(ACME, "k" * 129, "é" * 65, "m\0", ONE), ["key_id", "end_user", "model"]),
        (Rule(ACME, "", "", "gpt", Limits()), ["limits"]),
        (Rule(ACME, "", "", "gpt", Limits(tokens_per_day=-1)), ["limits.tokens_per_day"]),
        (Rule(ACME, "", "", "gpt", Limits(cost_micros_per_month=2**63 - 1)), ["limits.cost_micros_per_month"]),
        (Rule(ACME, "", "", "gpt", Limits(output_tokens_per_minute=5)), ["limits.output_token_burst"]),
        (Rule(ACME, "", "", "gpt", Limits(request_burst=5)), ["limits.requests_per_minute"]),
    ],
)
def test_each_thing_that_is_wrong_with_a_rule_is_named(rule: Rule, wrong: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_rule(rule)
    assert [field for field, _ in refused.value.violations] == wrong


def test_an_organisation_may_have_limits_of_its_own() -> None:
    check_rule(Rule(ORG, "", "", "", ONE))


def test_every_limit_has_a_largest_value() -> None:
    assert tuple(field.name for field in fields(Limits)) == NAMES and all(getattr(MOST, name) > 0 for name in NAMES)


def test_the_tenant_itself_is_the_first_of_all_that_applies() -> None:
    assert subjects(ACME, OWN, {}, {}, About("k", "u", "m")) == (Subject("t4:acme", "tenant:acme", OWN, True),)
