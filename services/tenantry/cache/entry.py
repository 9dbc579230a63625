"""What the cache holds and answers: values without rules."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a flight lasts unless it is renewed, how long a place in the wait is kept unless it is asked about again,
    and how many may wait for one answer."""

    flight_ms: int = 15_000
    place_ms: int = 3_000
    most_waiting: int = 1_000


@dataclass(frozen=True, slots=True)
class Key:
    """All that an answer depends on beside its caller; field by field the contract's CacheKey."""

    question: str
    system: str = ""
    model: str = ""
    model_revision: str = ""
    prompt: str = ""
    prompt_revision: int = 0
    output_schema: str = ""
    collections: tuple[str, ...] = ()
    passages: int = 0
    decoding: str = ""
    embedder: str = ""
    locale: str = ""
    end_user: str = ""
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer as bytes, the documents' epoch it was made under, and the MAC that says that it is ours."""

    answer: bytes
    documents_epoch: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Lead:
    """Nobody has the answer: who holds the handle makes it. `ends_ms` is Unix time."""

    handle: str
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Another makes the answer. The handle is a place among those who wait."""

    handle: str


@dataclass(frozen=True, slots=True)
class Full:
    """Another makes the answer, and no more may wait for it."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What became of a flight that was to be abandoned, and how many wait for its answer."""

    abandoned: bool
    waiting: int


@dataclass(frozen=True, slots=True)
class Stats:
    """How many look-ups were which, and how many answers were stored."""

    hits: int = 0
    misses: int = 0
    waits: int = 0
    stores: int = 0


Found = Entry | Lead | Wait | Full
