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


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a chain, and where the chain ends now: number and hash."""

    log: str
    head: tuple[int, bytes]
    entries: Iterable[Entry]


class Chain:
    """A chain in the mesh. `log` and `head` (number and hash) are known when `entries` has ended."""

    def __init__(self, pages: Iterable[_Page]) -> None:
        self._pages = pages
        self.log = ""
        self.head: tuple[int, bytes] = (0, START)

    def entries(self) -> Iterator[Entry]:
        """All entries, a page at a time."""
        for page in self._pages:
            self.log, self.head = page.log, page.head
            yield from page.entries


def audit_log(connection: Connection, tenant: str) -> Chain:
    """The audit log of a tenant, or the key's own."""
    request = audit_pb.ListAuditEventsRequest(tenant=tenant, from_number=1)
    answers = _answers(connection, AuditServiceStub, "ListAuditEvents", request)
    return Chain(
        _Page(
            answer.head.log,
            (answer.head.number, answer.head.hash),
            [_event(answer.head.log, event) for event in answer.events],
        )
        for answer in answers
    )


def usage_chain(connection: Connection, tenant: str) -> Chain:
    """The usage entries of a tenant, or of the key's own."""
    request = usage_pb.ListUsageChainRequest(tenant=tenant)
    answers = _answers(connection, UsageServiceStub, "ListUsageChain", request)
    return Chain(
        _Page(answer.chain, (answer.head.last, answer.head.digest or START), _links(answer)) for answer in answers
    )


def _answers(connection: Connection, stub: Any, name: str, request: Any) -> Iterator[Any]:
    request.page.size = _A_PAGE
    while True:
        answer = connection.call(stub, name, request)
        yield answer
        if not answer.page.next_token:
            return
        request.page.token = answer.page.next_token


def _links(answer: Any) -> list[Entry]:
    digests = {digest.batch: digest for digest in answer.digests}
    return [_link(answer.chain, link, _digest_fault(link, digests.get(link.batch))) for link in answer.links]


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
