"""Writes files that this user alone may read: secrets, tokens, keys."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, data: bytes, *, replace: bool) -> None:
    """A whole file: a reader sees the old one, the new one or none, never a part. Without `replace` the first one stays, of
    writers at the same moment too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            try:
                path.hardlink_to(draft)  # unlike a rename it fails if somebody was faster
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
