"""Credentials as they are stored: encrypted with AES-GCM, and bound to their owner, provider and address."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.models.model import Account, Owner, tenant_of

_NONCE_BYTES = 12


class Seal:
    """Seals and opens with one 32-byte key. A sealed credential can't be opened as another owner's or for another address."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, owner: Owner, account: Account, credential: str) -> bytes:
        """The credential sealed."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, credential.encode(), _bound_to(owner, account))

    def open(self, owner: Owner, account: Account, sealed: bytes) -> str:
        """The credential. FailedPrecondition when another key or place sealed it."""
        try:
            opened = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(owner, account))
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            message = (
                "a stored credential does not fit models.key; put the right file back, or set the credential again"
            )
            raise FailedPrecondition(Reason.STORE_UNFIT, message) from None
        return opened.decode()


def _bound_to(owner: Owner, account: Account) -> bytes:
    parts = (tenant_of(owner), account[0].value, account[1])
    return b"".join(f"{len(part.encode())}:{part}".encode() for part in parts)
