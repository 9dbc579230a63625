"""The estimates against a real vocabulary, OpenAI's cl100k_base."""

import base64
import json
import string
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.gateway import estimate
from tenantry.gateway.tokens import Counter

ROOT = Path(__file__).parents[3]
FREQUENT = "etaoinsrhld"


def numbers(random: Random, between: str) -> str:
    return between.join(str(random.randrange(10 ** random.randint(1, 12))) for _ in range(300))


def chars(random: Random, *ranges: tuple[int, int]) -> str:
    return "".join(chr(random.randint(*random.choice(ranges))) for _ in range(500))


def rows(random: Random, indent: int | None) -> str:
    row = {"id": random.getrandbits(64), "price": random.random(), "name": random.choice(["Ada", "Grace"]), "tags": []}
    return json.dumps([row] * 20, indent=indent)


KINDS: dict[str, Callable[[Random], str]] = {
    "a run of digits": lambda random: numbers(random, ""),
    "numbers between spaces": lambda random: numbers(random, " "),
    "numbers between commas": lambda random: numbers(random, ","),
    "single digits": lambda random: " ".join(random.choices(string.digits, k=500)),
    "hex": lambda random: random.randbytes(500).hex(),
    "hex, byte by byte": lambda random: random.randbytes(300).hex(" "),
    "base64": lambda random: base64.b64encode(random.randbytes(1000)).decode(),
    "JSON": lambda random: rows(random, None),
    "JSON, indented": lambda random: rows(random, 2),
    "Chinese characters": lambda random: chars(random, (0x4E00, 0x9FFF)),
    "Japanese characters": lambda random: chars(random, (0x3041, 0x30FF), (0x4E00, 0x9FFF)),
    "Korean characters": lambda random: chars(random, (0xAC00, 0xD7A3)),
    "Arabic characters": lambda random: chars(random, (0x0621, 0x064A)),
    "Cyrillic characters": lambda random: chars(random, (0x0410, 0x044F)),
    "emoji": lambda random: chars(random, (0x1F300, 0x1FAFF)),
    "any printable ASCII": lambda random: chars(random, (0x20, 0x7E)),
    "random letters": lambda random: "".join(random.choices(string.ascii_lowercase, k=3000)),
    "random words": lambda random: " ".join("".join(random.choices(string.ascii_letters, k=5)) for _ in range(300)),
}


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**32))
def test_the_upper_estimate_of_dense_text_is_not_below_what_it_has(counted: Counter, kind: str, seed: int) -> None:
    text = KINDS[kind](Random(seed))
    assert estimate.most_tokens(text) >= counted(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters=FREQUENT)))
def test_nothing_but_the_most_frequent_letters_is_taken_for_less_than_a_token_a_byte(
    counted: Counter, text: str
) -> None:
    assert estimate.most_tokens(text) == len(text.encode()) >= counted(text)


@pytest.mark.parametrize(
    ("pattern", "at_most"),
    [
        ("deploy/demo/**/*.md", 2.3),
        ("docs/*.md", 2.3),
        ("services/tenantry/gateway/*.py", 2.6),
        ("protos/**/*.proto", 2.6),
    ],
)
def test_prose_and_code_are_held_for_about_twice_what_they_have(counted: Counter, pattern: str, at_most: float) -> None:
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob(pattern)]
    held = [estimate.most_tokens(text) / counted(text) for text in texts]
    assert held and min(held) >= 1 and sum(held) / len(held) <= at_most


@given(st.integers(0, 2**32))
def test_random_frequent_letters_are_understated_to_a_quarter_at_most(counted: Counter, seed: int) -> None:
    text = "".join(Random(seed).choices(FREQUENT, k=2000))
    assert estimate.most_tokens(text) < counted(text) <= 4 * estimate.most_tokens(text)


@given(st.text(FREQUENT + FREQUENT.upper() + " "))
def test_no_text_is_understated_to_less_than_an_eighth(counted: Counter, text: str) -> None:
    assert counted(text) <= 8 * estimate.most_tokens(text)
