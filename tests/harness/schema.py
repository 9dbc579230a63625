"""Packages of migrations that a test writes for itself."""

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

_numbers = itertools.count(1)


def write_package(folder: Path, monkeypatch: pytest.MonkeyPatch, upgrades: Sequence[str]) -> str:
    """An importable package whose revisions 0001, 0002, … have these bodies of `upgrade()`; returns its name."""
    name = f"migrations_of_a_test_{next(_numbers)}"
    versions = folder / name / "versions"
    versions.mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    for number, body in enumerate(upgrades, start=1):
        before = f'"{number - 1:04}"' if number > 1 else "None"
        head = "import sqlalchemy as sa\nfrom alembic import op\nfrom tenantry.kit import changes, claims\n\n"
        head += f'revision = "{number:04}"\ndown_revision = {before}\n\n\ndef upgrade():\n'
        (versions / f"{number:04}_step.py").write_text(head + textwrap.indent(body, "    ") + "\n")
    monkeypatch.syspath_prepend(folder)
    return name
