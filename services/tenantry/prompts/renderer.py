"""Renders templates that have statements or expressions, in a process of its own: `python -m tenantry.prompts.renderer`.

MiniJinja reaches no Python object, and its fuel ends loops. Two things it does not end were found by trying: values that
share parts (`{% set a = [a, a] %}` forty times) take for ever to print, and a chain of operators overflows the parser's
stack. So this process has a ceiling of memory, and `tenantry.prompts.rendering` ends it when it is late.

A request is `{"templates": [...], "variables": {...} | null}`, where null means to compile only; the answer is
`{"texts": [...]}` or `{"fault": KIND, "at": INDEX, "line": N | null}`.
"""

import json
from functools import lru_cache
from typing import Any

import minijinja

from tenantry.kit import child

FUEL = 20_000
MAX_RENDERED_BYTES = 256 * 1024


def respond(request: Any) -> dict[str, Any]:
    """Renders, or only compiles, each template."""
    variables: dict[str, str] | None = request["variables"]
    texts: list[str] = []
    for index, template in enumerate(request["templates"]):
        try:
            environment = compiled(template)
            texts.append("" if variables is None else environment.render_template("it", **variables))
        except minijinja.TemplateError as error:
            return {"fault": error.kind, "at": index, "line": getattr(error, "line", None)}
        except MemoryError:
            return {"fault": "OutOfMemory", "at": index, "line": None}
        if len(texts[-1].encode()) > MAX_RENDERED_BYTES:
            return {"fault": "TooLarge", "at": index, "line": None}
    return {"texts": texts}


@lru_cache(maxsize=256)
def compiled(template: str) -> minijinja.Environment:
    """An environment that knows this template as `it` and no other."""
    environment = minijinja.Environment(
        filters={"tojson": _to_json},
        fuel=FUEL,
        debug=False,
        pycompat=False,
        undefined_behavior="strict",
    )
    environment.remove_global("debug")
    environment.add_template("it", template)
    return environment


def _to_json(value: Any) -> minijinja.Markup:
    # MiniJinja's own takes an indent, and memory with it.
    return minijinja.Markup(json.dumps(value, ensure_ascii=False))


if __name__ == "__main__":
    child.serve(respond)
