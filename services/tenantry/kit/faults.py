"""Writes faults of ours into the log: an id, types and places, and never the words of an exception that isn't ours."""

import logging
import secrets
import traceback
from pathlib import Path

from tenantry.kit.errors import Internal

log = logging.getLogger(__name__)
MAX_PLACES = 12


def report(where: str, error: Internal, failure: BaseException | None = None) -> str:
    """Logs the fault and returns the id to give to the client: the one that came with it, or a new one."""
    error_id = error.error_id or secrets.token_hex(8)
    at = failure or error
    log.error(
        "%s failed: %s",
        where,
        error.message,
        extra={"error_id": error_id, "error_type": type(at).__name__, "places": places(at), "causes": causes(at)},
    )
    return error_id


def places(failure: BaseException) -> list[str]:
    """The innermost frames of its traceback as `file.py:line`, outermost first."""
    frames = traceback.extract_tb(failure.__traceback__)[-MAX_PLACES:]
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]


def causes(failure: BaseException) -> list[str]:
    """The types of what it was raised from, nearest first."""
    names: list[str] = []
    inner = failure.__cause__ or failure.__context__
    while inner is not None and len(names) < MAX_PLACES:
        names.append(type(inner).__name__)
        inner = inner.__cause__ or inner.__context__
    return names
