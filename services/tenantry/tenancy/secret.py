"""The one secret of tenancy, a file, and what is derived from it: the pepper of API keys and the seal of signing
keys."""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tenantry.kit.errors import FailedPrecondition, Reason

SECRET_BYTES = 32
_NONCE_BYTES = 12


class Secret:
    """What the 32 bytes are good for. Each use has a key of its own (HKDF-SHA-256, RFC 5869)."""

    def __init__(self, raw: bytes) -> None:
        self.pepper = _derive(raw, b"tenantry api key pepper v1")
        self._seal = AESGCM(_derive(raw, b"tenantry signing key seal v1"))

    def seal(self, plain: bytes, name: str) -> bytes:
        """Encrypts `plain` (AES-256-GCM), bound to `name`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, plain, name.encode())

    def unseal(self, sealed: bytes, name: str) -> bytes:
        """What was sealed under this name; FailedPrecondition if it was with another secret."""
        try:
            return self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except InvalidTag:
            raise FailedPrecondition(
                Reason.STORE_UNFIT, "tenancy's secret is not the one that its tables were made with: put its file back"
            ) from None


def read_secret(path: Path) -> bytes | None:
    """The secret's bytes; None without a file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(raw) != SECRET_BYTES:
        raise FailedPrecondition(Reason.STORE_UNFIT, f"tenancy's secret file does not hold {SECRET_BYTES} bytes")
    return raw


def make_secret(path: Path) -> bytes:
    """The secret's bytes, in a new file for this user alone unless there is one; the same for all who start at once."""
    write_private(path, secrets.token_bytes(SECRET_BYTES), replace=False)
    return read_secret(path) or b""


def write_private(path: Path, data: bytes, *, replace: bool) -> None:
    """A whole file, readable by this user alone: a reader sees the old one, the new one or none, never a part."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                return
    finally:
        draft.unlink(missing_ok=True)


def _derive(raw: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, use).derive(raw)
