"""How asks and settlements are written in the books: JSON lists with a version, so that a later version can tell them
apart."""

import json
from dataclasses import astuple
from typing import Any

from tenantry.kit.owner import Tenant
from tenantry.quota.entries import Ask, Settled, Usage

_VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def write_ask(ask: Ask) -> bytes:
    """The ask as it is kept with its hold and nonce."""
    owner = ask.owner
    fields = (ask.reservation, ask.nonce, ask.key_id, ask.end_user, ask.model, ask.request_id)
    return _write(owner.organisation, owner.id, *fields, ask.input_tokens, ask.max_output_tokens)


def read_ask(text: bytes) -> Ask:
    """What `write_ask` wrote."""
    organisation, tenant, *fields = _read(text)
    return Ask(Tenant(organisation, tenant), *fields)


def write_settled(settled: Settled) -> bytes:
    """The settlement as it is kept in the outbox, without its time, which is the books'."""
    owner = settled.owner
    fields = (settled.reservation, owner.organisation, owner.id, settled.key_id, settled.end_user)
    return _write(*fields, *astuple(settled.usage))


def read_settled(text: bytes, settled_us: int) -> Settled:
    """What `write_settled` wrote."""
    reservation, organisation, tenant, key_id, end_user, *usage = _read(text)
    return Settled(reservation, Tenant(organisation, tenant), key_id, end_user, False, settled_us, Usage(*usage))


def _write(*fields: Any) -> bytes:
    return _encode((_VERSION, *fields)).encode()


def _read(text: bytes) -> list[Any]:
    version, *fields = json.loads(text)
    if version != _VERSION:
        raise ValueError(f"an entry of version {version}, which this version of quota does not know")
    return fields
