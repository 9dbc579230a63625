"""How a noun says what changed, for the change log: its kind, and its key or "" for all of the kind."""

from collections.abc import Callable

Note = Callable[[str, str], None]
