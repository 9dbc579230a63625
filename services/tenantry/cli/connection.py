"""A client of the mesh for one command: its address and its key."""

import json
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import grpc

from tenantry.cli import settings
from tenantry.cli.refusals import fail
from tenantry.kit.settings import secret_file

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


class Connection:
    """Stubs of one caller. The generated stubs are typed for asyncio; a command blocks, hence Any."""

    def __init__(self, address: str, key: str) -> None:
        try:
            _ = urlsplit(f"//{address}").port
        except ValueError:
            fail(f"{address} is no address", "write it as HOST:PORT")
        self.address = address
        self._metadata = (("authorization", f"Bearer {key}"),)
        options = [("grpc.max_receive_message_length", 2 * MAX_MESSAGE_BYTES), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(address, options)

    def call(self, stub: Any, name: str, request: Any, *, timeout_s: float = 60.0) -> Any:
        """One call of the RPC `name`; a stream of responses when the RPC streams them."""
        return getattr(stub(self._channel), name)(request, metadata=self._metadata, timeout=timeout_s)

    def pages(self, stub: Any, name: str, request: Any, field: str) -> Iterable[Any]:
        """All entries of a list, page by page."""
        while True:
            answer = self.call(stub, name, request)
            yield from getattr(answer, field)
            if not answer.page.next_token:
                return
            request.page.token = answer.page.next_token


def connect(address: str | None, key: str | None, tenant: str | None = None) -> Connection:
    """For administrators' commands: the given key, the named demo tenant's, TENANTRY_KEY, or the local operator's."""
    target = address or settings.address()
    chosen = key or _demo_key(target, tenant) or settings.key() or _operator_key(target)
    return Connection(target, _checked(chosen))


def connect_tenant(address: str | None, key: str | None, tenant: str | None) -> Connection:
    """For commands within a tenant, which the key alone decides: a tenant that is named is never another's."""
    target = address or settings.address()
    if key or not tenant:
        return connect(address, key)
    chosen = _demo_key(target, tenant)
    if not chosen:
        fail(f"there is no key of {tenant} here", "give one with --key; `tenantry key create --tenant …` makes one")
    return Connection(target, _checked(chosen))


def demo_keys() -> dict[str, str]:
    """The keys of the demo tenants by tenant; none before `up --demo`."""
    try:
        return json.loads(settings.demo_keys_file().read_text())
    except (OSError, ValueError):
        return {}


def _demo_key(target: str, tenant: str | None) -> str:
    return demo_keys().get(tenant, "") if tenant and _is_here(target) else ""


def _operator_key(target: str) -> str:
    if not _is_here(target):
        fail(f"there is no key for {target}: local keys stay on this machine", "give one with --key or TENANTRY_KEY")
    try:
        return secret_file("operator.key").read_text().strip()
    except OSError:
        fail("there is no key to call with", "give one with --key or TENANTRY_KEY, or run `tenantry init`")


def _is_here(target: str) -> bool:
    """Whether the address is the local mesh's, so that keys of the state directory are its keys."""
    host = target.rpartition(":")[0].strip("[]")
    try:
        return target == settings.local_address() or host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, such as 127.0.0.1.example.com
        return False


def _checked(key: str) -> str:
    """The key, if metadata can carry it."""
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        fail("the key has characters that no key has", "check it")
    return key
