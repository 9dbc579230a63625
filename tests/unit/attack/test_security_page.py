"""docs/SECURITY.md and the attack suite say the same."""

import ast
import re
from pathlib import Path

from tests.attack.groups import GROUPS, ORDER, group_of

ROOT = Path(__file__).parents[3]
ATTACKS = ROOT / "tests" / "attack"
_TEST = re.compile(r"`((?:tests/)?[a-z_/]+\.py)(?:::(test_\w+))?`")


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    named = _TEST.findall((ROOT / "docs" / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or (name and name not in functions_of(ROOT / file))
    ]
    assert not missing


def test_every_file_of_attacks_has_a_group_and_every_group_is_in_the_table() -> None:
    files = [path.relative_to(ATTACKS).as_posix() for path in ATTACKS.rglob("test_*.py")]
    assert not [file for file in files if group_of(file) is None]
    assert set(GROUPS.values()) == set(ORDER)


def test_every_file_of_attacks_is_named_on_the_page() -> None:
    page = (ROOT / "docs" / "SECURITY.md").read_text(encoding="utf-8")
    assert not [path.name for path in ATTACKS.rglob("test_*.py") if path.relative_to(ROOT).as_posix() not in page]
