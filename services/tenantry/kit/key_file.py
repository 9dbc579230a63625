"""A file with a secret of a service's own, made when it is missing and shared by the service's replicas on a machine or a
mounted volume."""

import os
import secrets
from pathlib import Path

from tenantry.kit.errors import FailedPrecondition, Reason

_BYTES = 32


def read_or_make(path: Path) -> bytes:
    """The secret. Of processes that find no file at the same moment one makes it, whole or not at all, and all read
    that."""
    if not path.exists():
        _make(path)
    secret = path.read_bytes()
    if len(secret) != _BYTES:
        raise FailedPrecondition(
            Reason.STORE_UNFIT, f"{path.name} does not hold {_BYTES} bytes; put the right file back, or delete it"
        )
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename it fails if somebody was faster
        except FileExistsError:
            return
        _sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
