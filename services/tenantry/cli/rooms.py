"""The services by name, imported when they are needed: the one place that knows where a room's `build` stands."""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from tenantry.kit.settings import SERVICES

if TYPE_CHECKING:
    from tenantry.kit.host import Hosted


def check_services(names: Sequence[str]) -> list[str]:
    """The names themselves, in the order in which they are built; a usage error for one that is no service's."""
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is no service; there are {', '.join(SERVICES)}")
    return [name for name in SERVICES if name in names]


def serve(services: Annotated[list[str], typer.Argument(help="The services to host, or `all`.")]) -> None:
    """Run services in this process until Ctrl-C."""
    from tenantry.kit.host import run
    from tenantry.kit.settings import mesh_settings

    names = check_services(SERVICES if services == ["all"] else services)
    run(hosted(names), mesh_settings(names[0]))


def hosted(names: Sequence[str]) -> "list[Hosted]":
    """What a process hosts, each with its settings from the environment."""
    from tenantry.kit.host import Hosted

    return [
        Hosted(
            name,
            import_module(f"tenantry.{name}.server").build,
            import_module(f"tenantry.{name}.settings").from_environment(),
        )
        for name in names
    ]
