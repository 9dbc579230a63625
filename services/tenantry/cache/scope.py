"""The scope of an answer: a keyed hash of the tenant, of all that limits what the caller may see, and of the whole key.

Two look-ups share an answer only if every one of these is the same. The hashed bytes are a list of fields, each with its
length before it, so that no choice of texts can write two different lists the same. The purposes carry a version: a change of
what is hashed gives them another, and what was stored before is not found any more.
"""

import hmac
from collections.abc import Iterable

from tenantry.cache.entry import Entry, Key
from tenantry.kit.caller import Caller

_SCOPE = b"tenantry.cache.scope.1"
_ENTRY = b"tenantry.cache.entry.1"


def scope_of(secret: bytes, viewer: Caller, key: Key) -> str:
    """The scope in hex: it names the entry in the store and says nothing of what is in it."""
    return hmac.digest(secret, written(viewer, key), "sha256").hex()


def mac_of(secret: bytes, scope: str, answer: bytes, documents_epoch: int) -> bytes:
    """What proves that the entry was stored by us, in this scope and under this epoch."""
    return hmac.digest(secret, _fields((_ENTRY, scope.encode(), b"%d" % documents_epoch, answer)), "sha256")


def is_genuine(secret: bytes, scope: str, entry: Entry) -> bool:
    """Whether the entry is what was stored in this scope: Redis may hold what others wrote."""
    return hmac.compare_digest(entry.mac, mac_of(secret, scope, entry.answer, entry.documents_epoch))


def written(viewer: Caller, key: Key) -> bytes:
    """The bytes that are hashed. A restriction is a set: its order means nothing. An order of searched collections may."""
    return _fields(
        (
            _SCOPE,
            viewer.tenant.encode(),
            _texts(sorted(set(viewer.collections))),
            _texts(sorted(set(viewer.models))),
            _texts((viewer.principal, viewer.key_id) if key.personal else ()),
            _texts((key.question, key.system, key.model, key.model_revision, key.prompt, str(key.prompt_revision))),
            key.output_schema.encode(),
            _texts(key.collections),
            _texts((str(key.passages), key.decoding, key.embedder, key.locale, key.end_user, str(key.personal))),
        )
    )


def _texts(texts: Iterable[str]) -> bytes:
    return _fields(text.encode() for text in texts)


def _fields(fields: Iterable[bytes]) -> bytes:
    return b"".join(b"%d:%b" % (len(field), field) for field in fields)
