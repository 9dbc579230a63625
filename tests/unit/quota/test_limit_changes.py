"""Changes of limits as the audit log has them."""

from dataclasses import fields

from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Limits, Rule, TenantSettings
from tenantry.quota.limit_changes import LONGEST, told_pool, told_rule, told_settings
from tenantry.quota.limit_rules import MOST
from tenantry.quota.slot import Kind, PoolSettings

ACME = Tenant("acme-org", "acme")
ONE = Limits(concurrent_requests=1)
TWO = Limits(concurrent_requests=2, tokens_per_day=20)


def test_a_change_is_told_in_one_word_with_what_was_and_what_is() -> None:
    rule = Rule(ACME, "", "ann", "gpt", ONE)
    assert told_rule(rule, TWO, ONE) == ["acme[user=ann,model=gpt]:concurrent_requests=2>1,tokens_per_day=20>0"]
    told = told_settings(ACME, TenantSettings(ONE), TenantSettings(ONE, "Asia/Tokyo", 9))
    assert told == ["acme:time_zone=UTC>Asia/Tokyo,queue_weight=0>9"]
    assert told_settings(ACME, TenantSettings(ONE), TenantSettings(ONE)) == ["acme:same"]


def test_a_change_that_says_more_than_one_word_holds_is_told_in_several_and_no_figure_is_cut() -> None:
    owner = Tenant("o", "t" * 63)
    told = told_rule(Rule(owner, "k" * 128, "u" * 128, "m" * 128, MOST), Limits(), MOST)
    assert all(len(one) <= LONGEST for one in told)
    figures = [figure for one in told for figure in one.partition("]:")[2].split(",")]
    assert figures == [f"{field.name}=0>{getattr(MOST, field.name)}" for field in fields(Limits)]


def test_a_pools_change_is_told_whole_whatever_its_name() -> None:
    usual, largest = PoolSettings(), PoolSettings(Kind.TOKENS, 10**8, 100, 100, 10**6, adaptive=True)
    assert told_pool("openai:gpt", usual, PoolSettings(capacity=8)) == ["openai:gpt:capacity=256>8"]
    told = told_pool("p" * 400, usual, largest)
    assert all(one.startswith("p" * 60 + "~:") and len(one) <= LONGEST for one in told)
    figures = [figure.partition("=")[0] for one in told for figure in one.partition("~:")[2].split(",")]
    assert figures == [field.name for field in fields(PoolSettings)]
