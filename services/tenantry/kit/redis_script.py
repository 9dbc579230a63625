"""Lua scripts, called by their hash."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from tenantry.kit.redis_link import ReplyError

Arg = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that is called by its hash and sent in full only to a server that does not know it."""

    name: str
    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def load(cls, package: str, name: str) -> "Script":
        """The file `<name>.lua` that ships in `package`."""
        return cls(name, resources.files(package).joinpath(f"{name}.lua").read_text("utf-8"))


async def reply_of(
    script: Script,
    keys: Sequence[str],
    args: Sequence[Arg],
    replies: Callable[[Sequence[Sequence[Arg]]], Awaitable[list[Any]]],
) -> Any:
    """What the script answers, or the error as a value."""
    [reply] = await replies([("EVALSHA", script.sha, len(keys), *keys, *args)])
    if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
        # It did not run, so sending it in full is no repetition.
        [reply] = await replies([("EVAL", script.text, len(keys), *keys, *args)])
    return reply
