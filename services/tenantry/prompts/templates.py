"""Templates: compiled and rendered by MiniJinja, which reaches no Python object, within limits of fuel and size.

Tried against MiniJinja 3.1: loops, repeats, recursion and nesting end by fuel or by its own limits. Two things did not,
so they are refused here: a chain of operators in one tag overflows the parser's stack (a crash of the process from about
30 kB of `-`), hence the bound on a tag; and `tojson` with a huge indent took memory, hence our own.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import minijinja

from tenantry.kit.errors import InvalidArgument, Reason
from tenantry.prompts.prompt import Source

FUEL = 20_000
MAX_TEMPLATE_BYTES = 64 * 1024
MAX_TAG_CHARACTERS = 1_000
MAX_RENDERED_BYTES = 256 * 1024
MAX_VARIABLES = 64
MAX_VARIABLES_BYTES = 1024 * 1024
MAX_OUTPUT_TOKENS = 100_000
_USUAL_OUTPUT_TOKENS = 1024
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{[{%].*", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
# What a template costs at most when it has no statements and few, short tags: some microseconds for each.
_QUICK_TAGS = 64
_QUICK_TAG_CHARACTERS = 64


class Template:
    """A compiled source. `quick` says that rendering takes well under a millisecond, whatever the variables are."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._environment = minijinja.Environment(
            templates={"system": source.system, "user": source.user},
            filters={"tojson": _to_json},
            fuel=FUEL,
            debug=False,
            pycompat=False,
            undefined_behavior="strict",
        )
        self._environment.remove_global("debug")
        tags = [tag for text in (source.system, source.user) for tag in _TAG.findall(text)]
        self.quick = len(tags) <= _QUICK_TAGS and all(
            tag.startswith("{{") and len(tag) <= _QUICK_TAG_CHARACTERS for tag in tags
        )

    def render(self, prompt: str, variables: Mapping[str, str]) -> tuple[str, str]:
        """The system and the user message. Raises InvalidArgument, which names the prompt but quotes nothing."""
        return self._render(prompt, "system", variables), self._render(prompt, "user", variables)

    def _render(self, prompt: str, part: str, variables: Mapping[str, str]) -> str:
        try:
            text = self._environment.render_template(part, **variables)
        except minijinja.TemplateError as error:
            raise InvalidArgument("variables", _SENTENCES.get(error.kind, _OTHER), prompt=prompt, reason=_INVALID) from None
        if len(text.encode()) > MAX_RENDERED_BYTES:
            raise InvalidArgument(
                "variables", f"the {part} message is larger than {MAX_RENDERED_BYTES} bytes", prompt=prompt, reason=_INVALID
            )
        return text


def check_source(source: Source) -> Source:
    """The source with its defaults set, when it may become a revision; InvalidArgument names each wrong field."""
    wrong: list[tuple[str, str]] = []
    if not source.user.strip():
        wrong.append(("source.user", "is missing"))
    for field, text in (("system", source.system), ("user", source.user)):
        wrong += [(f"source.{field}", what) for what in _faults_of(text)]
    if source.output_schema:
        wrong += [("source.output_schema", what) for what in _faults_of_schema(source.output_schema)]
    if not 0 <= source.max_output_tokens <= MAX_OUTPUT_TOKENS:
        wrong.append(("source.max_output_tokens", f"is not within 0 and {MAX_OUTPUT_TOKENS}"))
    if source.temperature is not None and not 0 <= source.temperature <= 2:  # noqa: PLR2004 - the contract's range
        wrong.append(("source.temperature", "is not within 0 and 2"))
    if wrong:
        raise InvalidArgument.many(wrong)
    return source.with_output_tokens(source.max_output_tokens or _USUAL_OUTPUT_TOKENS)


def check_variables(variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables themselves, when their number, names and size are within the limits."""
    if len(variables) > MAX_VARIABLES:
        raise InvalidArgument("variables", f"are more than {MAX_VARIABLES}")
    if any(_VARIABLE.fullmatch(name) is None for name in variables):
        raise InvalidArgument("variables", "have a name that is not a letter or _ and up to 62 letters, digits or _")
    if sum(len(text) for text in variables.values()) > MAX_VARIABLES_BYTES:
        raise InvalidArgument("variables", f"are larger than {MAX_VARIABLES_BYTES} bytes together")
    return variables


_INVALID = Reason.TEMPLATE_INVALID
_OTHER = "the template can't be rendered with these variables"
_SENTENCES = {
    "OutOfFuel": f"the template ran out of fuel ({FUEL} steps): it loops, repeats or nests too much",
    "UndefinedError": "the template uses a variable that was not given",
    "InvalidOperation": "the template does something that MiniJinja does not allow with these variables",
}


def _faults_of(text: str) -> list[str]:
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        return [f"is larger than {MAX_TEMPLATE_BYTES} bytes"]
    if any(len(tag) > MAX_TAG_CHARACTERS for tag in _TAG.findall(text)):
        return [f"has a tag of more than {MAX_TAG_CHARACTERS} characters"]
    try:
        minijinja.Environment(debug=False).add_template("checked", text)
    except minijinja.TemplateError as error:
        line = getattr(error, "line", None)
        return [f"is not a MiniJinja template: {error.kind}" + (f" in line {line}" if line else "")]
    return []


def _faults_of_schema(text: str) -> list[str]:
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        return [f"is larger than {MAX_TEMPLATE_BYTES} bytes"]
    try:
        schema = json.loads(text)
        if not isinstance(schema, dict):
            return ["is not a JSON object"]
        # References leave the document by URL; a schema that binds answers must stand alone.
        jsonschema_rs.Draft202012Validator(schema, retriever=_no_retrieval)
    except (ValueError, RecursionError, jsonschema_rs.ReferencingError):
        return ["is not a JSON Schema (2020-12) that stands alone"]
    return []


def _no_retrieval(uri: str) -> Any:
    raise ValueError("references to other documents are not followed")


def _to_json(value: Any) -> minijinja.Markup:
    return minijinja.Markup(json.dumps(value, ensure_ascii=False))
