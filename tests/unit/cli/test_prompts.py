"""What a prompt's next revision is made of."""

from pathlib import Path

from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.cli.prompts import _source


def test_what_is_not_given_stays_as_it_is_in_production(tmp_path: Path) -> None:
    current = pb.PromptSource(user="old", system="be brief", output_schema="{}", max_output_tokens=9, temperature=0.5)
    user = tmp_path / "user"
    user.write_text("new")
    changed = _source(current, user, None, None, None)
    assert changed == pb.PromptSource(
        user="new", system="be brief", output_schema="{}", max_output_tokens=9, temperature=0.5
    )
    assert current.user == "old"


def test_an_empty_file_takes_a_part_away(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert _source(pb.PromptSource(user="u", system="s"), None, empty, None, 7) == pb.PromptSource(
        user="u", max_output_tokens=7
    )
