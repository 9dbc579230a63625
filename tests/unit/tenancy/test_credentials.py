"""The form of an API key."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.ids import new_id
from tenantry.tenancy import credentials

PEPPER = bytes(range(32))


def test_a_new_credential_names_its_key_and_is_never_the_same() -> None:
    key_id = new_id("key")
    first, second = credentials.new_credential(key_id), credentials.new_credential(key_id)
    assert first != second
    assert first.startswith("tnt_") and len(first) == 79
    assert credentials.key_id_of(first) == credentials.key_id_of(second) == key_id


@given(place=st.integers(0, 78), other=st.sampled_from("0aZz_-é \n"))
def test_a_credential_with_one_wrong_character_is_refused_by_its_form(place: int, other: str) -> None:
    credential = credentials.new_credential(new_id("key"))
    changed = credential[:place] + other + credential[place + 1 :]
    assert changed == credential or credentials.key_id_of(changed) is None


@given(st.text(max_size=200))
def test_text_is_not_a_credential(text: str) -> None:
    assert credentials.key_id_of(text) is None


def test_white_space_around_a_credential_is_not_forgiven() -> None:
    credential = credentials.new_credential(new_id("key"))
    for changed in (f" {credential}", f"{credential}\n", credential.upper(), credential * 2):
        assert credentials.key_id_of(changed) is None


def test_a_digest_matches_its_credential_and_pepper_alone() -> None:
    key_id = new_id("key")
    credential = credentials.new_credential(key_id)
    digest = credentials.digest_of(PEPPER, credential)
    assert credentials.matches(PEPPER, credential, digest)
    assert not credentials.matches(PEPPER, credentials.new_credential(key_id), digest)
    assert not credentials.matches(PEPPER[::-1], credential, digest)
    assert credential.encode() not in digest and len(digest) == 32
