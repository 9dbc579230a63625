"""`tenantry limits`: shown, set and deleted, and found in the audit log."""

from tests.functional.cli.command import Command
from tests.harness.mesh import TenantKeys


def test_a_models_limit_is_set_shown_listed_and_deleted(operator: Command, keys: TenantKeys) -> None:
    tenant = keys.tenant
    made = operator(f"limits set {tenant} --model gpt --tokens-per-day 1000000").json()
    assert made["rule"]["limits"]["tokens_per_day"] == "1000000" and made["rule"]["version"] == "1"
    again = operator(f"limits set {tenant} --model gpt --concurrent-requests 3").json()
    assert again["rule"]["limits"]["tokens_per_day"] == "1000000", "what is not given stays"
    (rule,) = operator(f"limits rules {tenant}").lines()
    assert (rule["model"], rule["limits"]["concurrent_requests"], rule["version"]) == ("gpt", "3", "2")
    shown = operator.on_terminal(f"limits --tenant {tenant}")
    assert shown.status == 0 and f"tenant:{tenant} model:gpt" in shown.out and "tokens_per_day" in shown.out, shown
    assert operator(f"limits delete {tenant} --model gpt").status == 0
    assert operator(f"limits rules {tenant}").lines() == []
    gone = operator(f"limits delete {tenant} --model gpt")
    assert gone.status == 1 and "NOT_FOUND" in gone.err and gone.err.count("\n") == 1, gone


def test_a_tenants_own_limits_keep_what_is_not_given(operator: Command, tenantry: Command, keys: TenantKeys) -> None:
    tenant = keys.tenant
    assert operator(f"limits set {tenant} --tokens-per-month 5000 --time-zone Europe/Berlin").status == 0
    assert operator(f"limits set {tenant} --queue-weight 9").status == 0
    uses = {use["measure"]: use for use in tenantry("limits").json()["uses"]}
    assert uses["tokens_per_month"]["limit"] == "5000"
    wrong = operator(f"limits set {tenant} --time-zone Nowhere")
    assert wrong.status == 1 and "time_zone" in wrong.err
    assert operator(f"limits set {tenant} --tokens-per-day -1").status == 2
    assert operator(f"limits set {tenant} --model gpt --time-zone UTC").status == 2
    refused = tenantry(f"limits set {tenant} --tokens-per-month 9")
    assert refused.status == 1 and "limits.write" in refused.err


def test_an_organisations_limit_and_an_end_users_are_shown_with_the_tenants(
    operator: Command, keys: TenantKeys
) -> None:
    tenant, organisation = keys.tenant, keys.organisation
    assert operator(f"limits set --organisation {organisation} --cost-micros-per-month 9000000").status == 0
    assert operator(f"limits set {tenant} '--end-user=*' --tokens-per-day 10").status == 0
    shown = operator.on_terminal(f"limits --tenant {tenant} --end-user ann")
    for subject in (f"organisation:{organisation}", f"tenant:{tenant} end_user:ann"):
        assert subject in shown.out, shown


def test_every_change_of_a_limit_is_in_the_audit_log_with_what_was_and_what_is(
    operator: Command, tenantry: Command, keys: TenantKeys
) -> None:
    tenant = keys.tenant
    operator(f"limits set {tenant} --model gpt --tokens-per-day 10")
    operator(f"limits set {tenant} --model gpt --tokens-per-day 7")
    operator(f"limits set {tenant} --concurrent-requests 5")
    operator(f"limits delete {tenant} --model gpt")
    wanted = {
        ("SetLimitRule", f"{tenant}[model=gpt]:tokens_per_day=0>10"),
        ("SetLimitRule", f"{tenant}[model=gpt]:tokens_per_day=10>7"),
        ("UpdateQuotaLimits", f"{tenant}:concurrent_requests=0>5"),
        ("DeleteLimitRule", f"{tenant}[model=gpt]:tokens_per_day=7>0"),
    }
    found: set[tuple[str, str]] = set()
    for _ in range(40):  # quota tells tenancy within seconds
        found = {(line["action"], line["subject"]) for line in tenantry("audit list").lines()}
        if wanted <= found:
            break
    assert wanted <= found
