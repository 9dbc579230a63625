"""The processes that render other people's templates, as seen from the service: ended when late, a tenant one at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenantry.kit.children import Children
from tenantry.kit.errors import InvalidArgument, Reason
from tenantry.prompts.renderer import FUEL, MAX_RENDERED_BYTES

LATE_S = 1.0
_LATE = "Late"
_SENTENCES = {
    "OutOfFuel": f"runs out of fuel ({FUEL} steps): it loops, repeats or nests too much",
    "OutOfMemory": "wants too much memory",
    "TooLarge": f"makes more than {MAX_RENDERED_BYTES} bytes",
    "UndefinedError": "uses a variable that was not given",
    _LATE: f"can't be compiled or rendered within {LATE_S:g} s",
}


class Renderer:
    """A few rendering processes, started when first needed. `close` ends them.

    ResourceExhausted: the caller's tenant has too many templates that wait for their turn.
    """

    def __init__(self) -> None:
        self._children = Children("tenantry.prompts.renderer", late_s=LATE_S)

    async def render(self, templates: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """The rendered texts. InvalidArgument says what is wrong with a template, without its words."""
        answer = await self._ask({"templates": list(templates), "variables": dict(variables)})
        if "texts" in answer:
            return answer["texts"]
        raise InvalidArgument("variables", f"the template {_sentence(answer)}", reason=Reason.TEMPLATE_INVALID)

    async def fault_of(self, template: str) -> str | None:
        """Why the template can't be compiled, as the end of a sentence; None if it can."""
        answer = await self._ask({"templates": [template], "variables": None})
        return None if "texts" in answer else _sentence(answer)

    async def close(self) -> None:
        """Ends the processes."""
        await self._children.close()

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        # None: it was busy with what it would never end, or crashed over it.
        return await self._children.ask(request) or {"fault": _LATE}


def _sentence(answer: dict[str, Any]) -> str:
    kind = answer["fault"]
    line = f" in line {answer['line']}" if answer.get("line") else ""
    return _SENTENCES.get(kind, f"is not one that MiniJinja takes ({kind}{line})")
