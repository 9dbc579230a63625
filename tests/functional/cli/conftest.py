"""A mesh of one process, and the command that speaks to it."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.cli.command import Command
from tests.harness.mesh import RunningMesh, TenantKeys, running_mesh


@pytest.fixture(scope="package")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """The mesh. Shared: use tenants of your own."""
    with running_mesh("cohosted", tmp_path_factory.mktemp("cli") / "state") as running:
        yield running


@pytest.fixture
def operator(local: RunningMesh, tmp_path: Path) -> Command:
    """The command on the operator's machine: the key is found in the state directory."""
    return Command({name: value for name, value in local.environment.items() if name != "TENANTRY_KEY"}, tmp_path)


@pytest.fixture
def keys(local: RunningMesh) -> TenantKeys:
    """A new tenant and its admin's key."""
    return local.tenant(f"cli-{secrets.token_hex(4)}")


@pytest.fixture
def tenantry(operator: Command, keys: TenantKeys) -> Command:
    """The command with the key of the new tenant's admin."""
    return operator.within(TENANTRY_KEY=keys.key)
