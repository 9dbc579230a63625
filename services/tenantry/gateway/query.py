"""What may be asked: the query and its limits."""

from dataclasses import dataclass, field

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name

MAX_QUESTION_BYTES = 64 * 1024
MAX_COLLECTIONS = 40
MAX_PASSAGES = 50
USUAL_PASSAGES = 8
MAX_OUTPUT_TOKENS = 100_000
MAX_END_USER_BYTES = 128
MAX_LOCALE = 35
MAX_MODEL = 128
MAX_VARIABLES = 63
MAX_TEMPERATURE = 2.0
MAX_PRIORITY = 9


@dataclass(frozen=True, slots=True)
class Query:
    """One question. Empty text and 0 mean what the contract says; `passages` is the number to search for, 0 for none."""

    question: str
    prompt: str = ""
    prompt_revision: int = 0
    variables: dict[str, str] = field(default_factory=dict[str, str])
    collections: tuple[str, ...] = ()
    passages: int = USUAL_PASSAGES
    model: str = ""
    max_output_tokens: int = 0
    temperature: float | None = None
    end_user: str = ""
    personal: bool = False
    cached: bool = True
    locale: str = ""
    priority: int = 0


def check(query: Query) -> Query:
    """The query itself; InvalidArgument names each wrong field."""
    wrong = [(f"query.{name}", what) for name, what in _faults(query)]
    if wrong:
        raise InvalidArgument.many(wrong)
    for collection in query.collections:
        check_name(collection, "query.collections")
    if query.prompt:
        check_name(query.prompt, "query.prompt")
    return query


def _faults(query: Query) -> list[tuple[str, str]]:
    size = len(query.question.encode())
    checks = (
        ("question", not query.question.strip(), "is missing"),
        ("question", size > MAX_QUESTION_BYTES, f"is larger than {MAX_QUESTION_BYTES} bytes"),
        ("question", "\x00" in query.question, "has a NUL character"),
        ("prompt_revision", query.prompt_revision < 0, "is below 0"),
        ("variables", "question" in query.variables, "must not name `question`, which has a field of its own"),
        ("variables", len(query.variables) > MAX_VARIABLES, f"are more than {MAX_VARIABLES}"),
        ("collections", len(query.collections) > MAX_COLLECTIONS, f"are more than {MAX_COLLECTIONS}"),
        ("passages", not 0 <= query.passages <= MAX_PASSAGES, f"is not within -1 and {MAX_PASSAGES}"),
        ("model", len(query.model) > MAX_MODEL, f"is longer than {MAX_MODEL} characters"),
        (
            "max_output_tokens",
            not 0 <= query.max_output_tokens <= MAX_OUTPUT_TOKENS,
            f"is not within 0 and {MAX_OUTPUT_TOKENS}",
        ),
        (
            "temperature",
            query.temperature is not None and not 0 <= query.temperature <= MAX_TEMPERATURE,
            "is not within 0 and 2",
        ),
        ("end_user", len(query.end_user.encode()) > MAX_END_USER_BYTES, f"is larger than {MAX_END_USER_BYTES} bytes"),
        ("end_user", not query.end_user.isprintable(), "has characters that can't be printed"),
        ("locale", len(query.locale) > MAX_LOCALE, f"is longer than {MAX_LOCALE} characters"),
        ("priority", not 0 <= query.priority <= MAX_PRIORITY, f"is not within 0 and {MAX_PRIORITY}"),
    )
    return [(name, what) for name, is_wrong, what in checks if is_wrong]
