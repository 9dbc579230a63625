"""Checks answers against tenants' schemas, in a process of its own: `python -m tenantry.gateway.schema_child`.

jsonschema_rs holds the interpreter's lock while it checks, and a schema whose definitions each refer twice to the one before
takes twice as long with each of them. A request is `{"text": ..., "schema": ...}`, the answer `{"fault": SENTENCE | null}`.
"""

import json
from functools import lru_cache
from typing import Any

import jsonschema_rs

from tenantry.kit import child

_FAULTS_TOLD = 3
_LONGEST_PATH = 120


def respond(request: Any) -> dict[str, str | None]:
    """Where the answer does not fit, without its words."""
    return {"fault": _fault_of(request["text"], request["schema"])}


def _fault_of(text: str, schema: str) -> str | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return "it is not JSON"
    except RecursionError:
        return "it is nested too deeply"
    faults = [
        f"at /{'/'.join(map(str, error.instance_path))[:_LONGEST_PATH]}"
        for error, _ in zip(_validator(schema).iter_errors(answer), range(_FAULTS_TOLD), strict=False)
    ]
    return f"it breaks the schema {', '.join(faults)}" if faults else None


@lru_cache(maxsize=64)
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(schema))


if __name__ == "__main__":
    child.serve(respond)
