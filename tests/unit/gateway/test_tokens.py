"""Tokens are counted by the model's own vocabulary where there is one, else estimated; what may be held is never too little."""

import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenantry.gateway import estimate
from tenantry.gateway.citations import Passage
from tenantry.gateway.peers import Epoch, Generation, Model, Plan, Rendered
from tenantry.gateway.query import Query
from tenantry.gateway.tokens import Counter, Tokens
from tenantry.gateway.vocabularies import Vocabularies
from tenantry.models import framing, generation
from tests.harness.vocabularies import CL100K, O200K, model

TEXT = "The refund period is 45 days, 30 in São Paulo. "
UNKNOWN = model("claude-opus-5", "anthropic")


def plan(chosen: Model, user: str = TEXT, passages: int = 0) -> Plan:
    rendered = Rendered("answer", 1, "Be brief.", user, '{"type": "object"}', 100, None)
    return Plan(Query("How long?", passages=passages), rendered, chosen, Epoch(1, False, "words"))


def counting(counter: Counter | None = None) -> Tokens:
    async def counters(_: Model) -> Counter | None:
        return counter

    return Tokens(counters)


async def test_a_model_that_the_library_knows_is_counted_by_its_vocabulary(filled: Path, counted: Counter) -> None:
    tokens = Tokens(Vocabularies(filled).counter)
    names = ("gpt-4", "gpt-4-0613", "gpt-3.5-turbo", "gpt-35-turbo", "ft:gpt-4-0613:acme::b7")
    texts = ("Be brief.", TEXT, '{"type": "object"}')
    held = {await tokens.to_hold(plan(model(name))) for name in names}
    assert held == {sum(map(counted, texts)) + estimate.frame_tokens(len(texts))}


@pytest.mark.parametrize("chosen", [UNKNOWN, model("acme-tuned"), model(""), model("gpt-4", "extractive")])
async def test_any_other_model_is_held_by_the_upper_estimate(filled: Path, chosen: Model) -> None:
    held = await Tokens(Vocabularies(filled).counter).to_hold(plan(chosen))
    assert held == await Tokens().to_hold(plan(model("gpt-4")))


async def test_what_is_held_is_enough_for_each_model_that_may_answer(filled: Path) -> None:
    tokens = Tokens(Vocabularies(filled).counter)
    alone, dear = await tokens.to_hold(plan(model("gpt-4"))), await tokens.to_hold(plan(UNKNOWN))
    alike = model("gpt-4", fallbacks=(model("gpt-3.5-turbo"),))
    mixed = model("gpt-4", fallbacks=(model("gpt-3.5-turbo"), UNKNOWN))
    assert await tokens.to_hold(plan(alike)) == alone < dear == await tokens.to_hold(plan(mixed))


async def test_passages_that_are_not_known_yet_are_held_for() -> None:
    without, with_eight = await Tokens().to_hold(plan(UNKNOWN)), await Tokens().to_hold(plan(UNKNOWN, passages=8))
    assert with_eight - without > 8 * 300


async def test_what_a_model_reads_is_counted_with_all_that_models_puts_around_it(counted: Counter) -> None:
    passages = [Passage("default", f"d{n}", f"Title {n}", "A heading", TEXT * 20) for n in range(20)]
    asked = Generation(plan(model("gpt-4")), passages, None, True, (("assistant", "45 days"), ("user", "Write JSON.")))
    given = [generation.Passage(n, one.title, one.heading, one.text) for n, one in enumerate(passages, start=1)]
    user = f"{framing.frame(given, framing.new_mark())}\n\n{TEXT}"
    sent = sum(map(counted, ("Be brief.", user, "45 days", "Write JSON.", '{"type": "object"}')))
    # OpenAI's own count: three for a message and one for its role, three for the answer's begin.
    assert sent + 4 * 4 + 3 <= await counting(counted).read(asked, model("gpt-4")) <= sent * 1.05


async def test_what_nobody_counted_is_settled_by_the_vocabulary_and_else_by_the_likely_estimate(
    filled: Path, counted: Counter
) -> None:
    tokens = Tokens(Vocabularies(filled).counter)
    assert await tokens.written(TEXT, model("gpt-4")) == counted(TEXT)
    assert await tokens.written(TEXT, UNKNOWN) == estimate.likely_tokens(TEXT) < estimate.most_tokens(TEXT)


def test_what_looks_like_a_special_token_is_counted_as_text(counted: Counter) -> None:
    assert counted("<|endoftext|><|fim_prefix|>") > 10


@pytest.mark.parametrize("content", [None, b"", b"IQ== 0\n"], ids=["missing", "empty", "another"])
async def test_without_its_vocabulary_a_model_is_estimated_and_it_is_said_once_and_nothing_is_fetched(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("a service fetches nothing")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    if content is not None:
        (tmp_path / O200K).write_bytes(content)
    tokens = Tokens(Vocabularies(tmp_path).counter)
    with caplog.at_level(logging.WARNING):
        held = [await tokens.to_hold(plan(model(name))) for name in ("gpt-4o", "gpt-5", "ft:gpt-4o-mini:acme::b7")]
    assert set(held) == {await Tokens().to_hold(plan(UNKNOWN))}
    (said,) = caplog.messages
    assert said.startswith("the vocabulary o200k_base is missing or damaged") and "TENANTRY_TOKENIZERS" in said
    assert content is None or (tmp_path / O200K).read_bytes() == content, "what an operator put there stays"


async def test_a_vocabulary_that_was_changed_is_not_counted_with(filled: Path, tmp_path: Path) -> None:
    (tmp_path / CL100K).write_bytes((filled / CL100K).read_bytes().replace(b" 200\n", b" 201\n"))
    assert await Vocabularies(tmp_path).counter(model("gpt-4")) is None


async def test_what_takes_long_to_count_is_counted_in_a_thread_and_what_takes_too_long_is_estimated() -> None:
    threads: list[threading.Thread] = []

    def counter(text: str) -> int:
        threads.append(threading.current_thread())
        return 1

    tokens, here = counting(counter), threading.current_thread()
    assert [await tokens.written("x" * size, UNKNOWN) for size in (4_000, 5_000, 65_536)] == [1, 1, 1]
    assert [thread is here for thread in threads] == [True, False, False]
    huge = "x" * 65_537
    assert await tokens.written(huge, UNKNOWN) == estimate.likely_tokens(huge)
    assert await tokens.to_hold(plan(UNKNOWN, huge)) > estimate.most_tokens(huge)


@pytest.mark.parametrize("text", ["a" * 65_536, " " * 65_535 + "x", "\n" * 65_536], ids=["letters", "spaces", "lines"])
def test_the_largest_text_that_is_counted_is_no_trouble_to_the_tokenizer(counted: Counter, text: str) -> None:
    assert 0 < counted(text) <= len(text)


def test_who_sets_no_folder_does_not_import_the_tokenizer() -> None:
    program = "import sys, tenantry.gateway.server; assert 'tiktoken' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
