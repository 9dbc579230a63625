"""Which sources may become revisions, which variables may fill them, and the plain ones, rendered here and now.

A plain template only inserts variables. All others are compiled and rendered in a process of their own (`rendering`).
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from tenantry.kit.errors import InvalidArgument, Reason
from tenantry.prompts.prompt import Source
from tenantry.prompts.renderer import MAX_RENDERED_BYTES

MAX_TEMPLATE_BYTES = 64 * 1024
MAX_VARIABLES = 64
MAX_VARIABLES_BYTES = 1024 * 1024
MAX_OUTPUT_TOKENS = 100_000
_USUAL_OUTPUT_TOKENS = 1024
_TOO_LARGE = f"is larger than {MAX_TEMPLATE_BYTES} bytes"
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_VARIABLE = re.compile(_NAME)
_INSERTION = re.compile(r"(?<!\{)\{\{ *(" + _NAME + r") *\}\}")
# MiniJinja's constants: as names they would not be looked up.
_CONSTANTS = {"true", "false", "none", "True", "False", "None", "not", "loop", "self"}


# Remembered: production templates are asked about with every call, and are 64 KiB at most.
@lru_cache(128)
def is_plain(template: str) -> bool:
    """Whether it only inserts variables, as in `{{ question }}`."""
    rest = _INSERTION.sub("\0", template)
    return not any(mark in rest for mark in ("{{", "{%", "{#")) and _CONSTANTS.isdisjoint(_INSERTION.findall(template))


def render_plain(template: str, variables: Mapping[str, str]) -> str:
    """What MiniJinja gives for a plain template: like it, one newline at the end is dropped."""
    try:
        text = _INSERTION.sub(lambda found: variables[found[1]], template.removesuffix("\n"))
    except KeyError:
        raise InvalidArgument(
            "variables", "the template uses a variable that was not given", reason=Reason.TEMPLATE_INVALID
        ) from None
    if len(text) > MAX_RENDERED_BYTES or len(text.encode()) > MAX_RENDERED_BYTES:
        raise InvalidArgument(
            "variables", f"the template makes more than {MAX_RENDERED_BYTES} bytes", reason=Reason.TEMPLATE_INVALID
        )
    return text


def faults_of(source: Source) -> list[tuple[str, str]]:
    """The wrong fields of a source, but for templates that can't be compiled."""
    wrong: list[tuple[str, str]] = []
    if not source.user.strip():
        wrong.append(("source.user", "is missing"))
    wrong += [(f"source.{field}", _TOO_LARGE) for field in ("system", "user") if _is_large(getattr(source, field))]
    if _is_large(source.output_schema):
        wrong.append(("source.output_schema", _TOO_LARGE))
    elif source.output_schema and not _is_schema(source.output_schema):
        wrong.append(("source.output_schema", "is not a JSON Schema (2020-12) that stands alone"))
    if not 0 <= source.max_output_tokens <= MAX_OUTPUT_TOKENS:
        wrong.append(("source.max_output_tokens", f"is not within 0 and {MAX_OUTPUT_TOKENS}"))
    if source.temperature is not None and not 0 <= source.temperature <= 2:
        wrong.append(("source.temperature", "is not within 0 and 2"))
    return wrong


def with_defaults(source: Source) -> Source:
    """The source with what it leaves open."""
    return source.with_output_tokens(source.max_output_tokens or _USUAL_OUTPUT_TOKENS)


def check_variables(variables: Mapping[str, str]) -> None:
    """Refuses variables whose number, names or size are not within the limits."""
    if len(variables) > MAX_VARIABLES:
        raise InvalidArgument("variables", f"are more than {MAX_VARIABLES}")
    if any(_VARIABLE.fullmatch(name) is None for name in variables):
        raise InvalidArgument("variables", "have a name that is not a letter or _ and up to 62 letters, digits or _")
    if sum(len(text.encode()) for text in variables.values()) > MAX_VARIABLES_BYTES:
        raise InvalidArgument("variables", f"are larger than {MAX_VARIABLES_BYTES} bytes together")


def _is_large(text: str) -> bool:
    return len(text.encode()) > MAX_TEMPLATE_BYTES


def _is_schema(text: str) -> bool:
    try:
        schema = json.loads(text)
        # References leave the document by URL; a schema that binds answers must stand alone.
        jsonschema_rs.Draft202012Validator(schema, retriever=_no_retrieval)
    except (ValueError, RecursionError, jsonschema_rs.ReferencingError):
        return False
    return isinstance(schema, dict)


def _no_retrieval(uri: str) -> Any:
    raise ValueError("references to other documents are not followed")
