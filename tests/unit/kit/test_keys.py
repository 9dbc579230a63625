"""How a stored key is spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.keys import redis_key
from tenantry.kit.owner import Organisation, Owner, Platform, Pool, Tenant

# Text that is likely to look like the spelling itself.
texts = st.text(alphabet="a1:{}é\x00", max_size=8) | st.text(max_size=8)
words = st.text(alphabet="ab1.-_", min_size=1, max_size=4)
owners: st.SearchStrategy[Owner] = st.one_of(
    texts.map(lambda id: Tenant("org", id)), texts.map(Organisation), texts.map(Pool), st.just(Platform())
)
spelled = st.tuples(words, words, owners, st.lists(texts, max_size=4).map(tuple))


@given(spelled, spelled)
def test_different_owners_or_parts_never_share_a_key(
    one: tuple[str, str, Owner, tuple[str, ...]], other: tuple[str, str, Owner, tuple[str, ...]]
) -> None:
    same_key = redis_key(one[0], one[1], one[2], *one[3]) == redis_key(other[0], other[1], other[2], *other[3])
    assert same_key == (one == other)


@given(texts, texts, texts)
def test_moving_text_between_parts_changes_the_key(left: str, middle: str, right: str) -> None:
    if middle:
        owner = Tenant("org", "acme")
        assert redis_key("s", "k", owner, left + middle, right) != redis_key("s", "k", owner, left, middle + right)


@given(spelled)
def test_only_the_slot_is_the_clusters_hash_tag(one: tuple[str, str, Owner, tuple[str, ...]]) -> None:
    key = redis_key(one[0], one[1], one[2], *one[3])
    assert key[1 : key.index("}")] == one[0] and key.startswith("{")


def test_a_tenants_key_does_not_depend_on_whether_its_organisation_is_known() -> None:
    assert redis_key("s", "k", Tenant("", "acme")) == redis_key("s", "k", Tenant("org", "acme"))


def test_a_key_reads_as_slot_kind_owner_and_parts() -> None:
    assert redis_key("b7", "bucket", Tenant("org", "acme"), "gpt-4") == "{b7}:bucket:1:t4:acme5:gpt-4"


@pytest.mark.parametrize("word", ["", "a:b", "{a}", "a b", "a\n"])
def test_slot_and_kind_must_be_words(word: str) -> None:
    with pytest.raises(ValueError):
        redis_key(word, "kind", Platform())
    with pytest.raises(ValueError):
        redis_key("slot", word, Platform())
