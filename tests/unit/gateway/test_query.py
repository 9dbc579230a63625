"""What may be asked."""

import pytest

from tenantry.gateway.query import Query, check
from tenantry.kit.errors import InvalidArgument

WRONG = {
    "query.question": [Query(" "), Query("x" * 65_537), Query("a\x00b")],
    "query.prompt_revision": [Query("q", prompt_revision=-1)],
    "query.variables": [
        Query("q", variables={"question": "q"}),
        Query("q", variables={f"v{n}": "" for n in range(64)}),
    ],
    "query.collections": [Query("q", collections=("a",) * 41), Query("q", collections=("../a",))],
    "query.prompt": [Query("q", prompt="A/b")],
    "query.passages": [Query("q", passages=51), Query("q", passages=-2)],
    "query.model": [Query("q", model="m" * 129)],
    "query.max_output_tokens": [Query("q", max_output_tokens=100_001), Query("q", max_output_tokens=-1)],
    "query.priority": [Query("q", priority=-1), Query("q", priority=10)],
    "query.temperature": [Query("q", temperature=2.1), Query("q", temperature=float("nan"))],
    "query.end_user": [Query("q", end_user="u" * 129), Query("q", end_user="a\nb")],
    "query.locale": [Query("q", locale="x" * 36)],
}


@pytest.mark.parametrize(("field", "query"), [(field, query) for field, queries in WRONG.items() for query in queries])
def test_a_wrong_field_is_named(field: str, query: Query) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(query)
    assert [named for named, _ in refused.value.violations] == [field]


def test_a_full_query_within_the_limits_is_taken() -> None:
    query = Query("q", "answer", 2, {"a": "b"}, ("hr",), 50, "m", 100_000, 0.0, "u-1", True, False, "en-GB")
    assert check(query) is query
