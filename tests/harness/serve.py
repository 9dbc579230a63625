"""Several services in one process, for tests of the mesh and of what runs in the test's own process."""

import sys
from collections.abc import Sequence
from importlib import import_module

from tenantry.kit.host import Hosted, run
from tenantry.kit.settings import mesh_settings


def hosted(services: Sequence[str]) -> list[Hosted]:
    """What a process hosts, each with its settings from the environment."""
    return [
        Hosted(
            name,
            import_module(f"tenantry.{name}.server").build,
            import_module(f"tenantry.{name}.settings").from_environment(),
        )
        for name in services
    ]


if __name__ == "__main__":
    run(hosted(sys.argv[1:]), mesh_settings(sys.argv[1]))
