"""`tenantry usage`: what a tenant used."""

from enum import StrEnum
from typing import Annotated

import typer

from tenantry.api.insight.v1 import usage_service_pb2 as pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import show_all

_COLUMNS = ("requests", "input_tokens", "output_tokens", "cost_micros", "cache_hits", "failures", "latency_p50_ms")

_OTHERS = "(all others)"


class By(StrEnum):
    """What entries are summed by."""

    total = "total"
    model = "model"
    end_user = "end_user"
    day = "day"
    key = "key"


def usage(
    by: Annotated[By, typer.Option(help="Sum by this.")] = By.total,
    most: Annotated[int, typer.Option(min=1, max=1000, help="So many by name, the rest as one line.")] = 1000,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Sum a tenant's usage of the last 30 days."""
    name = "UNSPECIFIED" if by is By.total else by.upper()
    grouping = pb.UsageGrouping.Value(f"USAGE_GROUPING_{name}")
    request = pb.GetUsageRequest(tenant=tenant or "", grouping=grouping, most_groups=most)
    answer = connected(address, key, tenant).call(UsageServiceStub, "GetUsage", request)
    groups = list(answer.groups) if by is not By.total else [answer.total]
    if answer.HasField("others"):
        answer.others.group = _OTHERS
        groups.append(answer.others)
    show_all(groups, ("group", *_COLUMNS))
