"""What a request may hold: every text is bounded in bytes, every number has its range."""

import re

from tenantry.cache.entry import Key
from tenantry.kit.errors import InvalidArgument

# What prompts renders at most, for a question and a system message.
MAX_RENDERED_BYTES = 256 * 1024
MAX_SCHEMA_BYTES = 256 * 1024
MAX_DECODING_BYTES = 16 * 1024
MAX_NAME_BYTES = 512
MAX_COLLECTIONS = 256
MAX_TEXT_BYTES = 1024 * 1024
MAX_CITATIONS_BYTES = 256 * 1024
MIN_TTL_MS = 1_000
MAX_TTL_MS = 7 * 24 * 3600 * 1_000
DEFAULT_TTL_MS = 3600 * 1_000

_MOST = {
    "question": MAX_RENDERED_BYTES,
    "system": MAX_RENDERED_BYTES,
    "output_schema": MAX_SCHEMA_BYTES,
    "decoding": MAX_DECODING_BYTES,
}
_TEXTS = ("question", "system", "model", "model_revision", "prompt", "output_schema", "decoding", "embedder", "locale")
_HANDLE = re.compile(r"[0-9a-f]{32}")


def check_key(key: Key) -> int:
    """About how many bytes the key has. Refuses one without a question or model, or with a field out of bounds."""
    sizes = {name: _size(getattr(key, name)) for name in (*_TEXTS, "end_user")}
    wrong = [(f"key.{name}", "is missing") for name in ("question", "model") if not sizes[name]]
    wrong += _too_long("key", {name: (size, _MOST.get(name, MAX_NAME_BYTES)) for name, size in sizes.items()})
    if len(key.collections) > MAX_COLLECTIONS:
        wrong.append(("key.collections", f"are more than {MAX_COLLECTIONS}"))
    elif any(_size(one) > MAX_NAME_BYTES for one in key.collections):
        wrong.append(("key.collections", f"one is longer than {MAX_NAME_BYTES} bytes"))
    if key.end_user and not key.personal:
        wrong.append(("key.end_user", "is only for a personal request"))
    wrong += [(f"key.{name}", "is below 0") for name in ("prompt_revision", "passages") if getattr(key, name) < 0]
    if wrong:
        raise InvalidArgument.many(wrong)
    return sum(sizes.values())


def check_answer(text: str, citations: bytes, names: dict[str, str], tokens: dict[str, int]) -> None:
    """Refuse an answer without text or with a field out of bounds."""
    sizes = {"text": (_size(text), MAX_TEXT_BYTES), "citations": (len(citations), MAX_CITATIONS_BYTES)}
    sizes |= {name: (_size(value), MAX_NAME_BYTES) for name, value in names.items()}
    wrong = [] if text else [("answer.text", "is missing")]
    wrong += _too_long("answer", sizes)
    wrong += [(f"answer.{name}", "is below 0") for name, number in tokens.items() if number < 0]
    if wrong:
        raise InvalidArgument.many(wrong)


def check_entry(documents_epoch: int, ttl_ms: int) -> None:
    """Refuse an epoch that no documents have, or a ttl out of range."""
    if documents_epoch < 0:
        raise InvalidArgument("documents_epoch", "is below 0")
    if not MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
        raise InvalidArgument("ttl", "is not within 1 s and 7 days")


def check_handle(handle: str) -> None:
    """Refuse what no look-up gives."""
    if not handle:
        raise InvalidArgument("handle", "is missing")
    if _HANDLE.fullmatch(handle) is None:
        raise InvalidArgument("handle", "is not one that a look-up gives")


def _size(text: str) -> int:
    return len(text.encode())


def _too_long(of: str, sizes: dict[str, tuple[int, int]]) -> list[tuple[str, str]]:
    return [(f"{of}.{name}", f"is longer than {most} bytes") for name, (size, most) in sizes.items() if size > most]
