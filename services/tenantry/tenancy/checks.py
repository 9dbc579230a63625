"""What fields of requests may hold, beyond ids. Pure functions of values."""

import re
from collections.abc import Sequence

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name
from tenantry.tenancy.networks import address_of, network_of
from tenantry.tenancy.roles import SCOPES

MAX_DISPLAY_NAME = 200
MAX_ENTRIES = 40
_MODEL = re.compile(r"[a-z0-9._:/-]{1,128}")
_MADE_ID = re.compile(r"(?:iss|key|op)_[0-9a-z]{26}")
MAX_AUDIENCE = 255


def display_name(text: str, otherwise: str) -> str:
    """The name for people, or what stands in its place when there is none."""
    if len(text) > MAX_DISPLAY_NAME:
        raise InvalidArgument("display_name", f"is longer than {MAX_DISPLAY_NAME} characters")
    if not text.isprintable():
        raise InvalidArgument("display_name", "holds characters that can't be shown")
    return text.strip() or otherwise


def scopes(names: Sequence[str]) -> frozenset[str]:
    """One or more scopes that there are."""
    if not 1 <= len(names) <= MAX_ENTRIES:
        raise InvalidArgument("scopes", f"must be 1 to {MAX_ENTRIES}")
    unknown = [(f"scopes[{place}]", "is not a scope") for place, name in enumerate(names) if name not in SCOPES]
    if unknown:
        raise InvalidArgument.many(unknown)
    return frozenset(names)


def models(ids: Sequence[str]) -> tuple[str, ...]:
    """Ids of models, in order and each once."""
    _few(ids, "models")
    wrong = [
        (f"models[{place}]", "is not a model's id") for place, model in enumerate(ids) if not _MODEL.fullmatch(model)
    ]
    if wrong:
        raise InvalidArgument.many(wrong)
    return tuple(sorted(set(ids)))


def collections(names: Sequence[str]) -> tuple[str, ...]:
    """Names of collections, in order and each once."""
    _few(names, "collections")
    return tuple(sorted({check_name(name, f"collections[{place}]") for place, name in enumerate(names)}))


def networks(blocks: Sequence[str]) -> tuple[str, ...]:
    """Address blocks, in order and each once."""
    _few(blocks, "networks")
    wrong = [
        (f"networks[{place}]", "is not a block of addresses in its usual form, such as 203.0.113.0/24 or 2001:db8::/32")
        for place, block in enumerate(blocks)
        if network_of(block) is None
    ]
    if wrong:
        raise InvalidArgument.many(wrong)
    return tuple(sorted(set(blocks)))


def client_address(text: str) -> str:
    """An address as the edge saw it, or none."""
    if text and address_of(text) is None:
        raise InvalidArgument("client_address", "is not an address")
    return text


def audience(text: str) -> str:
    """What tokens must be for."""
    if not text:
        raise InvalidArgument("audience", "is missing")
    if len(text) > MAX_AUDIENCE or not text.isprintable():
        raise InvalidArgument("audience", f"is not 1 to {MAX_AUDIENCE} printable characters")
    return text


def made_id(text: str, field: str) -> str:
    """The id of a key, an issuer or an operation: of a form that only we give out."""
    if not text:
        raise InvalidArgument(field, "is missing")
    if _MADE_ID.fullmatch(text) is None:
        raise InvalidArgument(field, "is not an id that was given out")
    return text


def _few(entries: Sequence[str], field: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidArgument(field, f"has more than {MAX_ENTRIES} entries")
