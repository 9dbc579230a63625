"""A file with a secret of a service's own, made when it is missing and shared by the service's replicas on a machine or a
mounted volume."""

import secrets
from pathlib import Path

from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.private_file import write_private

KEY_BYTES = 32


def read(path: Path) -> bytes | None:
    """The secret; None without a file."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(secret) != KEY_BYTES:
        raise FailedPrecondition(
            Reason.STORE_UNFIT, f"{path.name} does not hold {KEY_BYTES} bytes; put the right file back, or delete it"
        )
    return secret


def read_or_make(path: Path) -> bytes:
    """The secret. Of processes that find no file at the same moment one makes it, and all read that."""
    secret = read(path)
    if secret is None:
        write_private(path, secrets.token_bytes(KEY_BYTES), replace=False)
        secret = read(path)
    return secret or b""
