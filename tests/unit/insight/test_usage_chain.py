"""The chain of usage entries, as rules."""

from dataclasses import fields, replace

import pytest

from tenantry.insight import usage_chain
from tenantry.insight.usage_chain import Digest, Known
from tenantry.kit.usage import Usage
from tests.contract.insight.entry import ACME, GLOBEX, entry


def test_each_tenant_has_a_chain_of_its_own_that_goes_on_with_the_next_batch() -> None:
    first, heads = usage_chain.chained([entry("r1"), entry("r2", GLOBEX), entry("r3")], {})
    assert [(link.entry.owner.id, link.number, link.batch) for link in first] == [
        ("acme", 1, 1),
        ("acme", 2, 1),
        ("globex", 1, 1),
    ]
    second, after = usage_chain.chained([entry("r4")], {head.owner: head for head in heads})
    assert [(link.number, link.batch) for link in second] == [(3, 2)]
    assert after == [Digest(ACME, 2, 3, 1, second[0].hash)]


def test_only_what_is_new_is_kept_and_a_true_settlement_is_new_after_an_estimate() -> None:
    batch = [entry("r1"), entry("r2", estimated=True), entry("r2"), entry("r2"), entry("r3", estimated=True)]
    known = {"r1": Known(ACME, estimated=False), "r3": Known(ACME, estimated=True)}
    assert usage_chain.news(batch, known) == [entry("r2", estimated=True), entry("r2")]
    assert usage_chain.news([entry("r3")], known) == [entry("r3")]
    assert usage_chain.news([entry("r3", GLOBEX)], known) == []


@pytest.mark.parametrize("name", [field.name for field in fields(Usage)])
def test_every_figure_of_an_entry_is_hashed(name: str) -> None:
    plain = entry("r1")
    old = getattr(plain.usage, name)
    changed = replace(plain, usage=replace(plain.usage, **{name: f"{old}!" if isinstance(old, str) else 77}))
    one, other = (usage_chain.fields_of("usage:o/t", 1, 1, each) for each in (plain, changed))
    assert one != other


@pytest.mark.parametrize(
    "about", [{"key_id": "k"}, {"end_user": "u"}, {"estimated": True}, {"settled_us": 1}, {"reservation": "r2"}]
)
def test_all_else_of_an_entry_is_hashed(about: dict[str, object]) -> None:
    plain = entry("r1")
    changed = replace(plain, **about)  # pyright: ignore[reportArgumentType]
    one, other = (usage_chain.fields_of("usage:o/t", 1, 1, each) for each in (plain, changed))
    assert one != other
