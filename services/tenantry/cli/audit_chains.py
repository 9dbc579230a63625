"""The chains as the mesh or a file tells them: entries with what is hashed of them, oldest first, one page in memory."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import AuditServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.output import as_dict
from tenantry.cli.refusals import fail
from tenantry.insight import usage_chain as usage_rule
from tenantry.insight.entries import Entry as UsageEntry
from tenantry.kit.hash_chain import START
from tenantry.kit.messages import usage_of
from tenantry.kit.owner import Tenant
from tenantry.tenancy import audit_chain as audit_rule
from tenantry.tenancy.records import AuditEntry

_A_PAGE = 1000
_USAGE = "usage:"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the chain `log`: what is hashed of it, its fields for people, and how it is named.

    `fault` is what is wrong with what the mesh says beside it.
    """

    log: str
    number: int
    hash: bytes
    hashed: tuple[str, ...]
    fields: Mapping[str, Any]
    named: str
    fault: str | None = None


class Chain:
    """A chain in the mesh. `log` and `head` (number and hash) are known when `entries` has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.log = ""
        self.head: tuple[int, bytes] = (0, START)

    def entries(self) -> Iterator[Entry]:
        """All entries, a page at a time."""
        raise NotImplementedError

    def _pages(self, stub: Any, name: str, request: Any) -> Iterator[Any]:
        while True:
            answer = self._connection.call(stub, name, request)
            yield answer
            if not answer.page.next_token:
                return
            request.page.token = answer.page.next_token


class _AuditLog(Chain):
    def __init__(self, connection: Connection, tenant: str) -> None:
        super().__init__(connection)
        self._request = audit_pb.ListAuditEventsRequest(tenant=tenant, from_number=1)
        self._request.page.size = _A_PAGE

    def entries(self) -> Iterator[Entry]:
        for answer in self._pages(AuditServiceStub, "ListAuditEvents", self._request):
            self.log, self.head = answer.head.log, (answer.head.number, answer.head.hash)
            for event in answer.events:
                yield _event(self.log, event)


class _UsageChain(Chain):
    def __init__(self, connection: Connection, tenant: str) -> None:
        super().__init__(connection)
        self._request = usage_pb.ListUsageChainRequest(tenant=tenant)
        self._request.page.size = _A_PAGE

    def entries(self) -> Iterator[Entry]:
        for answer in self._pages(UsageServiceStub, "ListUsageChain", self._request):
            self.log, self.head = answer.chain, (answer.head.last, answer.head.digest or START)
            digests = {digest.batch: digest for digest in answer.digests}
            for link in answer.links:
                yield _link(self.log, link, _digest_fault(link, digests.get(link.batch)))


def audit_log(connection: Connection, tenant: str) -> Chain:
    """The audit log of a tenant, or the key's own."""
    return _AuditLog(connection, tenant)


def usage_chain(connection: Connection, tenant: str) -> Chain:
    """The usage entries of a tenant, or of the key's own."""
    return _UsageChain(connection, tenant)


def entries_of(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of an exported file."""
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            log = fields.pop("log")
            if log.startswith(_USAGE):
                yield _link(log, ParseDict(fields, usage_pb.UsageLink()), None)
            else:
                yield _event(log, ParseDict(fields, audit_pb.AuditEvent()))
        except (ValueError, ParseError, KeyError, AttributeError, TypeError):
            fail(f"line {number} is no line of an exported log", "export it again with `tenantry audit export`")


def _event(log: str, event: Any) -> Entry:
    entry = AuditEntry(
        event.time.ToNanoseconds(),
        event.principal,
        event.action,
        event.subject,
        event.outcome,
        event.service,
        event.reason,
        event.count,
    )
    hashed = audit_rule.fields_of(log, event.number, entry)
    return Entry(log, event.number, event.hash, hashed, as_dict(event), f" ({event.action} by {event.principal})")


def _link(log: str, link: Any, fault: str | None) -> Entry:
    record = link.record
    organisation, _, tenant = log.removeprefix(_USAGE).partition("/")
    entry = UsageEntry(
        record.reservation,
        Tenant(organisation, tenant),
        record.key_id,
        record.end_user,
        record.estimated,
        record.settle_time.ToMicroseconds(),
        usage_of(record.usage),
    )
    hashed = usage_rule.fields_of(log, link.number, link.batch, entry)
    named = f" (batch {link.batch}, reservation {record.reservation})"
    return Entry(log, link.number, link.hash, hashed, as_dict(link), named, fault)


def _digest_fault(link: Any, digest: Any) -> str | None:
    """What is wrong between a link and its batch's digest."""
    if digest is None:
        return f"the digest of batch {link.batch} is missing"
    if not digest.last - digest.entries < link.number <= digest.last:
        return f"entry {link.number} is not one of those that batch {link.batch} wrote"
    if link.number == digest.last and link.hash != digest.digest:
        return f"the digest of batch {link.batch} is not that of its entries"
    return None
