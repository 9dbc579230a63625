"""`tenantry prompt`: prompts live in files."""

import json

from tests.functional.cli.command import Command
from tests.harness.mesh import TenantKeys


def test_a_prompt_is_made_changed_rolled_back_and_deleted(tenantry: Command) -> None:
    tenantry.file("user.txt", "Answer {{ question }} for {{ name }}.")
    tenantry.file("system.txt", "Be brief.")
    made = tenantry("prompt create greet --user user.txt --system system.txt").json()
    assert (made["prompt"], made["production_revision"]) == ("greet", 1)
    tenantry.file("user.txt", "Second {{ question }} for {{ name }}.")
    assert tenantry("prompt update greet --user user.txt").json()["production_revision"] == 2
    assert tenantry("prompt show greet").json()["revision"]["source"]["user"].startswith("Second")
    assert tenantry("prompt show greet --revision 1").json()["revision"]["source"]["system"] == "Be brief."
    assert tenantry("prompt rollback greet 1").json()["production_revision"] == 1
    rendered = tenantry("prompt render greet --var question=why --var 'name=a = b'").json()
    assert rendered["user"] == "Answer why for a = b." and rendered["system"] == "Be brief."
    assert "greet" in [line["prompt"] for line in tenantry("prompt list").lines()]
    assert tenantry("prompt delete greet").status == 0
    gone = tenantry("prompt show greet")
    assert gone.status == 1 and "NOT_FOUND" in gone.err


def test_an_operator_works_on_a_tenants_prompts_by_its_name(operator: Command, keys: TenantKeys) -> None:
    operator.file("user.txt", "{{ question }}")
    assert operator(f"prompt create mine --user user.txt --tenant {keys.tenant}").json()["prompt"] == "mine"
    assert operator(f"prompt show mine --tenant {keys.tenant}").json()["prompt"]["production_revision"] == 1
    assert operator(f"prompt delete mine --tenant {keys.tenant}").status == 0


def test_a_person_reads_the_template_as_it_is(tenantry: Command) -> None:
    tenantry.file("user.txt", "First line with [red]brackets[/red].\nSecond line, {{ question }}.\n")
    tenantry("prompt create shown --user user.txt")
    shown = tenantry.on_terminal("prompt show shown")
    assert shown.status == 0 and "[red]brackets[/red]" in shown.out, shown
    assert "tenantry" not in shown.err


def test_bad_prompts_are_refused_with_the_field(tenantry: Command) -> None:
    tenantry.file("broken.txt", "{{ question")
    tenantry.file("latin.txt", "Rückgabe".encode("latin-1"))
    tenantry.file("good.txt", "{{ question }}")
    tenantry.file("large.txt", "a" * 70_000)
    tenantry.file("schema.json", json.dumps({"type": "nonsense"}))
    broken = tenantry("prompt create broken --user broken.txt")
    assert broken.status == 1 and "source.user" in broken.err
    latin = tenantry("prompt create latin --user latin.txt")
    assert latin.status == 1 and "UTF-8" in latin.err
    large = tenantry("prompt create large --user large.txt")
    assert large.status == 1 and "user" in large.err
    schema = tenantry("prompt create schema --user good.txt --schema schema.json")
    assert schema.status == 1 and "output_schema" in schema.err
    assert tenantry("prompt create nothing --user nothing.txt").status == 2
    assert tenantry("prompt render answer --var nonsense").status == 2
