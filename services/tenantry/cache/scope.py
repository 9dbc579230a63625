"""The scope of an answer: a keyed hash of the tenant, of all that limits what the caller may see, and of the whole key.

Two look-ups share an answer only if every one of these is the same. The hashed bytes are a list of fields, each with its
length before it, so that no choice of texts can write two different lists the same. The purposes carry a version: a change of
what is hashed gives them another, and what was stored before is not found any more.
"""

import hmac
from collections.abc import Iterable

from tenantry.cache.entry import Entry, Key
from tenantry.kit.caller import Caller
from tenantry.kit.mac import mac

_SCOPE = "tenantry.cache.scope.1"
_ENTRY = "tenantry.cache.entry.1"


def scope_of(secret: bytes, viewer: Caller, key: Key) -> str:
    """The scope in hex: it names the entry in the store and says nothing of what is in it."""
    return mac(secret, written(viewer, key)).hex()


def mac_of(secret: bytes, scope: str, answer: bytes, documents_epoch: int) -> bytes:
    """What proves that the entry was stored by us, in this scope and under this epoch."""
    return mac(secret, _counted((_ENTRY, scope, str(documents_epoch))).encode() + answer)


def is_genuine(secret: bytes, scope: str, entry: Entry) -> bool:
    """Whether the entry is what was stored in this scope: Redis may hold what others wrote."""
    return hmac.compare_digest(entry.mac, mac_of(secret, scope, entry.answer, entry.documents_epoch))


def written(viewer: Caller, key: Key) -> bytes:
    """The bytes that are hashed. A restriction is a set: its order means nothing. An order of searched collections may."""
    seen, models = sorted(set(viewer.collections)), sorted(set(viewer.models))
    who = (viewer.principal, viewer.key_id) if key.personal else ()
    # A list has its number of fields before it.
    return _counted(
        (
            *(_SCOPE, viewer.tenant, str(key.personal), *who),
            *(str(len(seen)), *seen, str(len(models)), *models),
            *(key.question, key.system, key.model, key.model_revision, key.prompt, str(key.prompt_revision)),
            *(key.output_schema, str(len(key.collections)), *key.collections, str(key.passages)),
            *(key.decoding, key.embedder, key.locale, key.end_user),
        )
    ).encode()


def _counted(texts: Iterable[str]) -> str:
    return "".join([f"{len(text)}:{text}" for text in texts])
