"""How Envoy's configuration spells things."""

from typing import Any

Message = dict[str, Any]


def typed(name: str, message: str, **fields: Any) -> Message:
    """An extension by its name, with its configuration, a message of `envoy.extensions`."""
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{message}", **fields}}


def seconds(number: float) -> str:
    """A duration."""
    return f"{number:g}s"


def address(host_port: str) -> Message:
    """Where to listen, or whom to call."""
    host, _, port = host_port.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def header(key: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Message:
    """A header to set."""
    return {"header": {"key": key, "value": value}, "append_action": action}
