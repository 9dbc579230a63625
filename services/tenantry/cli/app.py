"""The command and its subcommands, each imported when it is called or listed: `tenantry ask` needs none of the others."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

# Each subcommand by its name, in the order of the help: the module here, and the Typer or function in it.
COMMANDS = {
    "up": "up:up",
    "init": "up:init",
    "serve": "rooms:serve",
    "certificates": "certificates:certificates",
    "edge": "edge:edge",
    "doctor": "doctor:doctor",
    "org": "tenants:organisations",
    "tenant": "tenants:tenants",
    "key": "keys:app",
    "issuer": "issuers:app",
    "signing": "signing:app",
    "docs": "documents:app",
    "prompt": "prompts:app",
    "ask": "ask:ask",
    "audit": "audit:app",
    "usage": "usage:usage",
    "limits": "limits:app",
    "top": "top:top",
    "simulate": "simulate:simulated",
    "trace": "traces:trace",
}


class _WhenCalled(TyperGroup):
    """A group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"tenantry.cli.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command(cmd_name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(cls=_WhenCalled, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def tenantry() -> None:
    """Serve many customers from one AI stack, apart, fairly and in the open."""


def main() -> None:
    """The entry point. Whatever goes wrong ends in a sentence, and in status 1 (2 for wrong usage)."""
    try:
        app()
    except Exception as error:
        from tenantry.cli.refusals import fail, told

        try:
            fail(*told(error))
        except typer.Exit as end:
            sys.exit(end.exit_code)
