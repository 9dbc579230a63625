"""`make run` as an operator runs it, in each form, and the README's commands as they are written."""

import re
from pathlib import Path

import pytest

from tests.harness.operator import ROOT, going, workplace

README = (ROOT / "README.md").read_text()
FORMS = {"cohosted": [], "eight processes": ["TOPOLOGY=mesh"], "two workers with TLS": ["WORKERS=2", "TLS=1"]}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_make_run_answers_both_tenants_and_ends_every_process_and_finds_the_data_again(
    tmp_path: Path, form: list[str]
) -> None:
    place = workplace(tmp_path)
    for _ in range(2):
        with going(place, ["make", "run", *form]) as lines:
            answers = {line["tenant"]: line for line in lines if "tenant" in line}
            assert "45 days" in str(answers["acme"]["answer"]) and "14 days" in str(answers["globex"]["answer"])
            assert all(line["citations"] for line in answers.values())
            listed = place.run("tenantry docs list --tenant acme | wc -l")
            assert listed.stdout.strip() == "10", listed.stderr
        assert place.processes() == []


@pytest.mark.timeout(300)
def test_the_readmes_commands_work_as_they_are_written(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    shell = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    (python,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "call.py").write_text(python.replace("127.0.0.1:7700", place.address))
    with going(place, ["make", "run"]) as _:
        (life,) = [block for block in shell if "tenantry key rotate" in block]
        trying = [block for block in shell if block != life and ("tenantry ask" in block or "tenantry org" in block)]
        assert len(trying) == 2
        for command in "\n".join(trying).splitlines():
            done = place.run(command)
            assert done.returncode == 0, f"{command}: {done.stderr}"
        lived = place.run(f"set -e\n{life}")
        assert lived.returncode == 0 and "Refused, as it should be." in lived.stdout, lived.stderr
        called = place.run("python call.py")
        assert "45 days" in called.stdout and "refunds.md" in called.stdout, called.stderr
        (services,) = [block for block in shell if "python -m tenantry." in block]
        for command in re.findall(r"^(\S.*?)\s*(?:#.*)?$", services, re.MULTILINE):
            assert place.serves(command), command


def test_without_a_mesh_the_command_says_so_in_a_sentence(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    asked = place.run("tenantry ask --key tnt_junk hello")
    assert asked.returncode == 1
    assert "the mesh does not answer" in asked.stderr and "Traceback" not in asked.stderr
    assert place.run("tenantry ask hello").stderr.count("\n") == 1
