"""One ranking from two: passages found by their words (BM25) and by their meaning (vectors), for every store alike.

Measured on half of SQuAD 2.0 dev (646 documents, 2,910 questions;
`TENANTRY_BENCH_DATA=../shared/data python -m tests.bench.retrieval`):

    rule                                   recall@1   @5    MRR
    BM25 alone                               .823    .953   .879
    vectors alone (wordllama-256)            .582    .824   .687
    reciprocal ranks, equal weights, k=60    .710    .931   .805
    reciprocal ranks, vectors at .1, k=10    .822    .953   .880
    shares of the best score, vectors at .3  .828    .959   .885   <- this rule

So each list's scores are divided by its best one, and the vectors weigh .3. Between .2 and .4 the figures hardly move.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

VECTOR_WEIGHT = 0.3


class Scores(NamedTuple):  # a hundred are made for each search: a frozen dataclass takes four times as long
    """How a passage did in each list: `bm25` is 0 when none of the words is in it; `cosine` is known for every candidate."""

    bm25: float
    cosine: float


def fuse(candidates: Iterable[Scores]) -> list[float]:
    """The fused score of each candidate, from 0 to 1, in their order."""
    scores: Sequence[Scores] = list(candidates)
    # Where nothing scores, each share is 0 of 1.
    best_bm25 = max([0.0, *(score.bm25 for score in scores)]) or 1.0
    best_cosine = max([0.0, *(score.cosine for score in scores)]) or 1.0
    return [
        (max(0.0, bm25) / best_bm25 + VECTOR_WEIGHT * max(0.0, cosine) / best_cosine) / (1 + VECTOR_WEIGHT)
        for bm25, cosine in scores
    ]
