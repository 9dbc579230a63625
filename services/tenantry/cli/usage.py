"""`tenantry usage` and `tenantry limits`: what a tenant used, and what it may use."""

from enum import StrEnum
from typing import Annotated

import typer

from tenantry.api.insight.v1 import usage_service_pb2 as pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import show, show_all

_COLUMNS = ("requests", "input_tokens", "output_tokens", "cost_micros", "cache_hits", "failures", "latency_p50_ms")


class By(StrEnum):
    """What entries are summed by."""

    total = "total"
    model = "model"
    end_user = "end_user"
    day = "day"
    key = "key"


def usage(
    by: Annotated[By, typer.Option(help="Sum by this.")] = By.total,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Sum a tenant's usage of the last 30 days."""
    name = "UNSPECIFIED" if by is By.total else by.upper()
    grouping = pb.UsageGrouping.Value(f"USAGE_GROUPING_{name}")
    request = pb.GetUsageRequest(tenant=tenant or "", grouping=grouping)
    answer = connected(address, key, tenant).call(UsageServiceStub, "GetUsage", request)
    show_all(answer.groups if by is not By.total else [answer.total], ("group", *_COLUMNS))


def limits(address: Address = None, key: Key = None, tenant: Tenant = None) -> None:
    """Show a tenant's limits and how much of them is taken."""
    request = limit_pb.GetQuotaUsageRequest(tenant=tenant or "")
    show(connected(address, key, tenant).call(LimitServiceStub, "GetQuotaUsage", request))
