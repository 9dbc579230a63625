"""Templates within their limits: what a template may cost, and what it may reach."""

import re
from collections.abc import AsyncIterator

import minijinja
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.kit.errors import InvalidArgument, Reason
from tenantry.prompts.prompt import Source
from tenantry.prompts.renderer import MAX_RENDERED_BYTES
from tenantry.prompts.rendering import Renderer
from tenantry.prompts.templates import check_variables, faults_of, is_plain, render_plain

BOMBS = {
    "loops for ever": "{% for i in range(1000000) %}x{% endfor %}",
    "loops inside loops": "{% for a in range(900) %}{% for b in range(900) %}{% endfor %}{% endfor %}",
    "repeats a string": "{{ ('x' * 1000000000)|length }}",
    "repeats twice": "{% set a = 'x' * 100000 %}{{ (a * 100000)|length }}",
    "doubles a string": "{% set n = namespace(a='xxxxxxxx') %}{% for i in range(40) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "doubles a list": "{% set n = namespace(a=[1]) %}{% for i in range(40) %}{% set n.a = n.a + n.a %}{% endfor %}{{ n.a|list }}",
    "calls itself": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "recurses a loop": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "indents by a billion": "{{ 'a\nb'|indent(1000000000) }}",
    "formats with a billion columns": "{{ '%1000000000d'|format(1) }}",
    "replaces into a billion": "{% set a = 'x' * 9000 %}{{ (a|replace('x', a))|replace('x', a) }}",
    "joins with a long string": "{% set a = 'x' * 9000 %}{{ range(9000)|join(a) }}",
    "dumps JSON with a huge indent": "{{ [1, 2]|tojson(indent=100000000) }}",
    "shares parts of a list": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "shares parts of a dict": "{% set a = {} %}" + "{% set a = {'x': a, 'y': a} %}" * 40 + "{{ a|tojson }}",
    "chains lists": "{% set a = [1] %}" + "{% set a = a + a %}" * 40 + "{% for i in a %}{% endfor %}",
    "batches into a billion": "{{ [1]|batch(1000000000, 'x')|list|length }}",
    "is a billion's power": "{{ 10 ** 100000000 }}",
}
CRASHES = {
    "a chain of minuses": "{{ " + "-" * 60_000 + "1 }}",
    "a chain of pluses": "{{ 1" + "+1" * 30_000 + " }}",
    "a chain of calls": "{{ a" + "()" * 30_000 + " }}",
    "a chain in a tag that never ends": "{{ " + "-" * 60_000,
    "nested loops": "{% for a in [1] %}" * 2000 + "{% endfor %}" * 2000,
}


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.close()


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
async def test_a_template_that_wants_too_much_ends_soon_with_a_sentence(renderer: Renderer, bomb: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await renderer.render([bomb], {})
    assert refused.value.reason == Reason.TEMPLATE_INVALID
    assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
async def test_a_template_that_crashes_the_parser_is_refused_and_the_next_is_rendered(
    renderer: Renderer, crash: str
) -> None:
    assert await renderer.fault_of(crash) is not None
    assert await renderer.render(["{{ 1 + 1 }}"], {}) == ["2"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ question.__class__.__mro__ }}",
        "{{ self.x }}",
        "{{ cycler.__init__ }}",
        "{{ debug() }}",
    ],
)
async def test_no_python_object_can_be_reached(renderer: Renderer, text: str) -> None:
    with pytest.raises(InvalidArgument):
        await renderer.render([text], {"question": "q"})


@pytest.mark.parametrize("text", ["{% include 'it' %}", "{% include '/etc/passwd' %}", "{% import 'os' as os %}"])
async def test_other_templates_and_files_can_not_be_included(renderer: Renderer, text: str) -> None:
    with pytest.raises(InvalidArgument):
        await renderer.render([text], {})


def test_a_message_larger_than_the_limit_is_refused() -> None:
    twice = "{{ question }}{{ question }}"
    render_plain(twice, {"question": "x" * (MAX_RENDERED_BYTES // 2)})
    with pytest.raises(InvalidArgument):
        render_plain(twice, {"question": "x" * (MAX_RENDERED_BYTES // 2 + 1)})


def test_only_templates_that_insert_variables_are_plain() -> None:
    assert is_plain("Q: {{ question }}, {{lang}} } { %} }}")
    for text in (
        "{{ question|upper }}",
        "{% set a = 1 %}",
        "{# note #}",
        "{{ true }}",
        "{{ a.b }}",
        "{{- a -}}",
        "{{ 1 }}",
    ):
        assert not is_plain(text)


@example(before="", value="v", after="{{b}}")
@given(st.text("ab {}%#\n-é", max_size=12), st.text(max_size=8), st.text("ab {}%#\n-é", max_size=12))
def test_a_plain_template_renders_as_minijinja_renders_it(before: str, value: str, after: str) -> None:
    template = before + "{{ a }}" + after
    if is_plain(template):
        environment = minijinja.Environment(undefined_behavior="strict", pycompat=False)
        variables = dict.fromkeys(
            re.findall("[ab]+", template), value
        )  # what stands before or after may insert another
        assert render_plain(template, variables) == environment.render_str(template, "it", **variables)


def test_values_are_inserted_as_they_are_and_never_parsed() -> None:
    assert render_plain("{{ question }}", {"question": "{{ 1 + 1 }} <b>"}) == "{{ 1 + 1 }} <b>"


def test_a_schema_that_refers_to_another_document_is_refused() -> None:
    for schema in ('{"$ref": "https://example.test/s.json"}', '{"$ref": "file:///etc/passwd"}', '{"type": 7}'):
        assert faults_of(Source("", "u", schema))
    assert not faults_of(Source("", "u", '{"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"}'))


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "ａ", "a" * 64])
def test_a_variable_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_variables({name: "x"})
