"""The form of an API key: `tnt_`, the key's id, 256 random bits, and a checksum that refuses junk before any look-up.

All in base 62 of fixed widths, but the id, which is the record's without its prefix. The checksum (CRC-32) tells a
typing error or a scanner's guess from a key; it proves nothing, the digest does: HMAC-SHA-256 of the whole text with
a pepper.
"""

import hmac
import re
import secrets
import string
from binascii import crc32

from tenantry.kit.mac import mac

PREFIX = "tnt_"
ID_PREFIX = "key_"
SECRET_BITS = 256
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARS = 26
_SECRET_CHARS = 43
_SUM_CHARS = 6
_FORM = re.compile(rf"{PREFIX}([0-9a-z]{{{_ID_CHARS}}})[0-9A-Za-z]{{{_SECRET_CHARS + _SUM_CHARS}}}", re.ASCII)


def new_credential(key_id: str) -> str:
    """A new secret for the key `key_id`."""
    body = PREFIX + key_id.removeprefix(ID_PREFIX) + _base62(secrets.randbits(SECRET_BITS), _SECRET_CHARS)
    return body + _checksum(body)


def key_id_of(credential: str) -> str | None:
    """The id of the key that the text claims to be; None for what can't be a key."""
    form = _FORM.fullmatch(credential)
    if form is None or _checksum(credential[:-_SUM_CHARS]) != credential[-_SUM_CHARS:]:
        return None
    return ID_PREFIX + form.group(1)


def digest_of(pepper: bytes, credential: str) -> bytes:
    """What is stored of a key."""
    return mac(pepper, credential.encode("ascii"))


def matches(pepper: bytes, credential: str, digest: bytes) -> bool:
    """Whether the credential is the one whose digest was stored, in a time that does not tell how near it came."""
    return hmac.compare_digest(digest_of(pepper, credential), digest)


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode("ascii")), _SUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
