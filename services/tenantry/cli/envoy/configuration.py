"""Envoy's whole configuration, and how it is written down: YAML, a comment a part."""

from textwrap import indent

import yaml

from tenantry.cli.envoy.clusters import clusters
from tenantry.cli.envoy.listeners import grpc_listener, http_listener
from tenantry.cli.envoy.proto import Message, typed
from tenantry.cli.envoy.settings import Bounds, Settings
from tenantry.kit.access import EDGE

_TITLE = """\
# Made by `tenantry edge` from the access options of the contracts; it is made anew at each start.
# docs/EDGE.md says what a request passes, and which refusals are Envoy's own.
"""


def configuration(settings: Settings) -> str:
    """The text of the file that Envoy is started with."""
    parts = [
        ("Its name: Envoy takes no file that it watches without one.", {"node": {"id": EDGE, "cluster": EDGE}}),
        ("Operators' interface: a socket that only this user can open.", {"admin": _admin(settings)}),
        ("How many connections there may be, over all listeners.", {"overload_manager": _overload(settings.bounds)}),
    ]
    text = _TITLE + "".join(f"\n# {comment}\n{_yaml(part)}" for comment, part in parts)
    lists = [
        (
            "listeners",
            "Clients come in here; an RPC is found by its exact path.",
            [grpc_listener(settings), http_listener(settings)],
        ),
        ("clusters", "The services. No address is repeated anywhere else.", clusters(settings)),
    ]
    text += "\nstatic_resources:\n"
    for name, comment, items in lists:
        text += f"  # {comment}\n" + indent(_yaml({name: items}), "  ")
    return text


def _admin(settings: Settings) -> Message:
    return {"address": {"pipe": {"path": str(settings.admin), "mode": 0o600}}}


def _overload(bounds: Bounds) -> Message:
    monitor = typed(
        "envoy.resource_monitors.global_downstream_max_connections",
        "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=bounds.connections,
    )
    return {"resource_monitors": [monitor]}


def _yaml(part: Message) -> str:
    return yaml.dump(part, sort_keys=False, width=130, Dumper=_NoAliases)


class _NoAliases(yaml.SafeDumper):
    """Writes what is the same twice twice: people read it."""

    def ignore_aliases(self, data: object) -> bool:
        return True
