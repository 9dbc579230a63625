"""Whether an answer fits the JSON Schema that binds it, and how a model is asked to mend one that does not."""

import json

import jsonschema_rs

_FAULTS_TOLD = 3
_LONGEST_PATH = 120


def fault_of(text: str, schema: str) -> str | None:
    """Where the answer does not fit, without its words; None if it fits. CPU work: call it in a thread."""
    try:
        answer = json.loads(text)
    except ValueError:
        return "it is not JSON"
    except RecursionError:
        return "it is nested too deeply"
    validator = jsonschema_rs.Draft202012Validator(json.loads(schema))
    faults = [
        f"at /{'/'.join(map(str, error.instance_path))[:_LONGEST_PATH]}"
        for error, _ in zip(validator.iter_errors(answer), range(_FAULTS_TOLD), strict=False)
    ]
    return f"it breaks the schema {', '.join(faults)}" if faults else None


def repair_request(fault: str) -> str:
    """What the model is told when its answer did not fit, once."""
    return f"Your answer does not fit the JSON Schema: {fault}. Answer again with JSON alone that fits it."
