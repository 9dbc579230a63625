"""What is derived from the one secret of tenancy: the pepper of API keys and the seal of signing keys."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tenantry.kit.errors import FailedPrecondition, Reason

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


def _derive(raw: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, use).derive(raw)
