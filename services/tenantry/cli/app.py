"""The command and its subcommands."""

from typing import Annotated

import typer

from tenantry.cli import ask, doctor, documents, keys, prompts, rooms, tenants, traces, usage
from tenantry.cli.output import note

app = typer.Typer(
    help="Serve many customers from one AI stack, apart, fairly and in the open.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(tenants.organisations, name="org")
app.add_typer(tenants.tenants, name="tenant")
app.add_typer(keys.app, name="key")
app.add_typer(documents.app, name="docs")
app.add_typer(prompts.app, name="prompt")
app.command("ask")(ask.ask)
app.command("usage")(usage.usage)
app.command("limits")(usage.limits)
app.command("trace")(traces.trace)
app.command("doctor")(doctor.doctor)


@app.command("init")
def init() -> None:
    """Make secrets, tables, service tokens and the first operator's key. Doing so again renews the tokens alone."""
    from tenantry.cli.up import initialise
    from tenantry.kit.settings import secret_file

    made = initialise()
    note(operator_key="made now" if made else "was there", file=str(secret_file("operator.key")))


@app.command("serve")
def serve(services: Annotated[list[str], typer.Argument(help="The services to host, or `all`.")]) -> None:
    """Run services in this process until Ctrl-C."""
    from tenantry.kit.settings import SERVICES

    rooms.serve(SERVICES if services == ["all"] else services)


@app.command("up")
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Onboard two demo tenants and ask each a question.")] = False,
    topology: Annotated[str, typer.Option(help="`cohosted`: one process; `mesh`: eight.")] = "cohosted",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes of a cohosted mesh.")] = 1,
) -> None:
    """Run a whole mesh on this machine until Ctrl-C."""
    from tenantry.cli.up import up as run

    if topology not in ("cohosted", "mesh"):
        raise typer.BadParameter(f"{topology} is no topology; there are cohosted and mesh")
    run(topology, workers, with_demo=demo)


def main() -> None:
    """The entry point."""
    app()
