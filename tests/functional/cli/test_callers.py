"""`tenantry key rotate`, `issuer` and `signing`: who may call, and by what."""

import asyncio

from tests.functional.cli.command import Command
from tests.harness.issuer import AUDIENCE, issuer
from tests.harness.mesh import TenantKeys


def test_a_key_is_rotated_with_an_overlap_and_both_are_told(operator: Command, keys: TenantKeys) -> None:
    named = f"--tenant {keys.tenant}"
    first = operator(f"key create {named} --scope documents.read --network 127.0.0.0/8").json()
    second = operator(f"key rotate {first['key_id']} {named} --overlap 1h").json()
    assert second["replaces"] == first["key_id"] and second["old_key_ends"]
    listed = {line["key_id"]: line for line in operator(f"key list {named}").lines()}
    assert listed[first["key_id"]]["replaced_by"] == second["key_id"]
    assert listed[second["key_id"]]["networks"] == ["127.0.0.0/8"]
    again = operator(f"key rotate {first['key_id']} {named}")
    assert again.status == 1 and second["key_id"] in again.err and "KEY_NOT_CURRENT" in again.err
    assert operator(f"key rotate {second['key_id']} {named} --overlap soon").status == 2


def test_a_key_of_another_network_is_refused_in_a_sentence(operator: Command, keys: TenantKeys) -> None:
    made = operator(f"key create --tenant {keys.tenant} --scope documents.read --network 192.0.2.0/24").json()
    refused = operator.within(TENANTRY_KEY=made["secret"])("docs list")
    assert refused.status == 1 and "NETWORK_DENIED" in refused.err and refused.err.count("\n") == 1


async def test_an_issuers_callers_come_in_until_it_is_removed(operator: Command, keys: TenantKeys) -> None:
    async with issuer() as running:
        added = await asyncio.to_thread(
            operator, f"issuer add {running.url} --audience {AUDIENCE} --tenant {keys.tenant} --scope documents.read"
        )
        token = running.token()
        person = operator.within(TENANTRY_KEY=token)
        assert (await asyncio.to_thread(person, "docs list")).status == 0
        (listed,) = (await asyncio.to_thread(operator, f"issuer list --tenant {keys.tenant}")).lines()
        assert listed == added.json() and listed["url"] == running.url
        removed = await asyncio.to_thread(operator, f"issuer remove {listed['issuer_id']} --tenant {keys.tenant}")
        assert removed.json()["remove_time"]
        assert "CREDENTIAL_INVALID" in (await asyncio.to_thread(person, "docs list")).err


def test_a_signing_key_is_rotated_while_calls_go_on(operator: Command, tenantry: Command) -> None:
    made = operator("signing rotate").json()
    assert made["signing_key"].startswith("sig_") and made["signs_from"]
    assert operator("signing rotate").json() == made, "one waits already"
    assert tenantry("docs list").status == 0
