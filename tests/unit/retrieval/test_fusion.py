"""How two rankings become one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.errors import InvalidArgument
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.fusion import VECTOR_WEIGHT, Scores, fuse
from tenantry.retrieval.search import rank
from tenantry.retrieval.store import Candidate, Key

scores = st.builds(Scores, st.floats(0, 1e3), st.floats(-1, 1))


def test_the_best_of_both_lists_gets_one() -> None:
    assert fuse([Scores(3.0, 0.5), Scores(1.5, 0.25)]) == [pytest.approx(1.0), pytest.approx(0.5)]


def test_words_outweigh_meaning() -> None:
    words, meaning = fuse([Scores(2.0, 0.0), Scores(0.0, 0.9)])
    assert words == pytest.approx(1 / (1 + VECTOR_WEIGHT)) and meaning == pytest.approx(
        VECTOR_WEIGHT / (1 + VECTOR_WEIGHT)
    )


def test_without_words_the_order_is_that_of_the_vectors() -> None:
    fused = fuse([Scores(0.0, 0.2), Scores(0.0, 0.4), Scores(0.0, -0.3)])
    assert sorted(range(3), key=lambda place: -fused[place]) == [1, 0, 2]


def test_nothing_gives_nothing() -> None:
    assert fuse([]) == []
    assert fuse([Scores(0.0, 0.0), Scores(0.0, -1.0)]) == [0.0, 0.0]


@given(st.lists(scores, max_size=30))
def test_every_score_is_within_0_and_1(candidates: list[Scores]) -> None:
    assert all(0 <= score <= 1 + 1e-9 for score in fuse(candidates))


@given(st.lists(scores, max_size=20), scores, st.floats(0, 10), st.floats(0, 0.5))
def test_whoever_is_better_in_both_is_not_worse_in_the_end(
    others: list[Scores], one: Scores, more: float, nearer: float
) -> None:
    better = Scores(one.bm25 + more, one.cosine + nearer)
    fused = fuse([one, better, *others])
    assert fused[1] >= fused[0]


def test_equals_are_ordered_by_their_place() -> None:
    def candidate(document: str, ordinal: int) -> Candidate:
        return Candidate(Key("default", document), "", Passage(ordinal, "", ""), 1.0, 1.0, 1.0)

    given_ = [candidate("b", 0), candidate("a", 1), candidate("a", 0)]
    ranked = [(one.key.document, one.passage.ordinal) for one in rank(given_)]
    assert ranked == [("a", 0), ("a", 1), ("b", 0)]


def test_a_query_is_checked() -> None:
    from tenantry.retrieval.search import check_query

    for bad in ("", " ", "é" * 4097):
        with pytest.raises(InvalidArgument):
            check_query(bad)
    check_query("é" * 4096)
