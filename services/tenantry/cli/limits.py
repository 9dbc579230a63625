"""`tenantry limits`: what tenants, their keys, end users and models may use, how much of it is used, and setting it."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tenantry.api.quota.v1 import limit_service_pb2 as pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import clean, console, is_terminal, show, show_all

app = typer.Typer(help="Limits, what is used of them, and setting them.", add_completion=False)
EndUser = Annotated[str, typer.Option(help="An end user of the tenant; * is each by itself.")]
ForKey = Annotated[str, typer.Option(help="The id of an API key of the tenant.")]
Model = Annotated[str, typer.Option(help="A model's id.")]
Organisation = Annotated[str, typer.Option(help="An organisation, in place of a tenant.")]
Amount = Annotated[int | None, typer.Option(min=0, help="0: no longer.")]
_NAMES = [field.name for field in pb.QuotaLimits.DESCRIPTOR.fields]


@app.callback(invoke_without_command=True)
def show_limits(
    context: typer.Context,
    end_user: Annotated[str, typer.Option(help="Show this end user's as well.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Show a tenant's limits and how much of them is used."""
    if context.invoked_subcommand is not None:
        return
    request = pb.GetQuotaUsageRequest(tenant=tenant or "", end_user=end_user)
    answer = connected(address, key, tenant).call(LimitServiceStub, "GetQuotaUsage", request)
    if not is_terminal():
        show(answer)
        return
    console.print(_table(answer.uses))


@app.command("rules")
def rules(
    tenant: Annotated[str, typer.Argument()] = "",
    organisation: Organisation = "",
    address: Address = None,
    key: Key = None,
) -> None:
    """List the rules of a tenant or an organisation."""
    connection = connected(address, key, tenant or None)
    show_all(_rules(connection, tenant, organisation), ("key_id", "end_user", "model", "limits", "version"))


@app.command("set")
def set_limits(
    tenant: Annotated[str, typer.Argument()] = "",
    organisation: Organisation = "",
    for_key: ForKey = "",
    end_user: EndUser = "",
    model: Model = "",
    requests_per_minute: Amount = None,
    request_burst: Amount = None,
    tokens_per_minute: Amount = None,
    token_burst: Amount = None,
    input_tokens_per_minute: Amount = None,
    input_token_burst: Amount = None,
    output_tokens_per_minute: Amount = None,
    output_token_burst: Amount = None,
    concurrent_requests: Amount = None,
    tokens_per_day: Amount = None,
    tokens_per_month: Amount = None,
    cost_micros_per_day: Amount = None,
    cost_micros_per_month: Amount = None,
    time_zone: Annotated[str | None, typer.Option(help="The zone of the tenant's days, such as Europe/Berlin.")] = None,
    queue_weight: Annotated[int | None, typer.Option(min=0, max=1000, help="0: the tier's.")] = None,
    address: Address = None,
    key: Key = None,
) -> None:
    """Set limits of a tenant, an organisation, or a key, an end user, a model of it. What is not given stays."""
    given: dict[str, int | None] = {name: value for name, value in locals().items() if name in _NAMES}
    limits = {name: value for name, value in given.items() if value is not None}
    connection = connected(address, key, tenant or None)
    if organisation or for_key or end_user or model:
        if time_zone is not None or queue_weight is not None:
            raise typer.BadParameter("--time-zone and --queue-weight are a tenant's own")
        rule = pb.LimitRule(key_id=for_key, end_user=end_user, model=model)
        answer = _set_rule(connection, tenant, organisation, rule, limits)
    else:
        answer = _set_own(connection, tenant, limits, time_zone, queue_weight)
    if not is_terminal() or not answer.in_use:
        show(answer)
        return
    console.print(Text("More is used than that already; nothing is admitted there until it is free:", "yellow"))
    console.print(_table(answer.in_use))


@app.command("delete")
def delete(
    tenant: Annotated[str, typer.Argument()] = "",
    organisation: Organisation = "",
    for_key: ForKey = "",
    end_user: EndUser = "",
    model: Model = "",
    address: Address = None,
    key: Key = None,
) -> None:
    """Delete a rule."""
    connection = connected(address, key, tenant or None)
    found = _known(connection, tenant, organisation, pb.LimitRule(key_id=for_key, end_user=end_user, model=model))
    request = pb.DeleteLimitRuleRequest(
        tenant=tenant,
        organisation=organisation,
        key_id=for_key,
        end_user=end_user,
        model=model,
        version=found.version,
    )
    connection.call(LimitServiceStub, "DeleteLimitRule", request)


def _set_own(
    connection: Connection, tenant: str, limits: dict[str, int], time_zone: str | None, queue_weight: int | None
) -> Any:
    now = connection.call(LimitServiceStub, "GetQuotaLimits", pb.GetQuotaLimitsRequest(tenant=tenant))
    request = pb.UpdateQuotaLimitsRequest(
        tenant=tenant,
        overrides=_laid_over(now.overrides, limits),
        version=now.version,
        time_zone=now.time_zone if time_zone is None else time_zone,
        queue_weight=now.queue_weight if queue_weight is None else queue_weight,
    )
    return connection.call(LimitServiceStub, "UpdateQuotaLimits", request)


def _set_rule(
    connection: Connection, tenant: str, organisation: str, rule: pb.LimitRule, limits: dict[str, int]
) -> Any:
    known = _known(connection, tenant, organisation, rule)
    rule.limits.CopyFrom(_laid_over(known.limits, limits))
    request = pb.SetLimitRuleRequest(tenant=tenant, organisation=organisation, rule=rule, version=known.version)
    return connection.call(LimitServiceStub, "SetLimitRule", request)


def _known(connection: Connection, tenant: str, organisation: str, rule: pb.LimitRule) -> pb.LimitRule:
    """The rule about the same, or one of version 0."""
    about = (rule.key_id, rule.end_user, rule.model)
    for one in _rules(connection, tenant, organisation):
        if (one.key_id, one.end_user, one.model) == about:
            return one
    return pb.LimitRule()


def _rules(connection: Connection, tenant: str, organisation: str) -> list[pb.LimitRule]:
    request = pb.ListLimitRulesRequest(tenant=tenant, organisation=organisation)
    request.page.size = 1000
    return list(connection.pages(LimitServiceStub, "ListLimitRules", request, "rules"))


def _laid_over(known: pb.QuotaLimits, given: dict[str, int]) -> pb.QuotaLimits:
    limits = pb.QuotaLimits()
    limits.CopyFrom(known)
    for name, value in given.items():
        setattr(limits, name, value)
    return limits


def _table(uses: Any) -> Table:
    table = Table("subject", "measure", "limit", "used", "free", box=None, header_style="bold")
    for use in uses:
        most = use.burst or use.limit
        share = use.used / most
        style = "red" if share >= 1 else "yellow" if share >= 0.8 else ""
        value = f"{use.limit}, {use.burst} at once" if use.burst else str(use.limit)
        used = Text(f"{use.used} ({share:.0%})", style)
        table.add_row(Text(clean(use.subject)), use.measure, value, used, _when(use))
    return table


def _when(use: pb.LimitUse) -> str:
    if not use.HasField("free_time"):
        return ""
    free: datetime = use.free_time.ToDatetime()
    return f"{free:%Y-%m-%d %H:%M:%S} UTC"
