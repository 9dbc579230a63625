"""The process that renders other people's templates, as seen from the service: one at a time, ended when it is late."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tenantry.kit.errors import InvalidArgument, Reason
from tenantry.prompts.renderer import FUEL, LENGTH, MAX_RENDERED_BYTES

LATE_S = 1.0
_PROCESSES = 2
_LATE = "Late"
_SENTENCES = {
    "OutOfFuel": f"runs out of fuel ({FUEL} steps): it loops, repeats or nests too much",
    "OutOfMemory": "wants too much memory",
    "TooLarge": f"makes more than {MAX_RENDERED_BYTES} bytes",
    "UndefinedError": "uses a variable that was not given",
    _LATE: f"can't be compiled or rendered within {LATE_S:g} s",
}


class Renderer:
    """A few rendering processes, started when first needed. `close` ends them."""

    def __init__(self) -> None:
        self._free: asyncio.LifoQueue[asyncio.subprocess.Process | None] = asyncio.LifoQueue()
        for _ in range(_PROCESSES):
            self._free.put_nowait(None)

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
        while not self._free.empty():
            await _end(self._free.get_nowait())

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = await self._free.get()
        try:
            if process is None or process.returncode is not None:
                process = await _start()
            async with asyncio.timeout(LATE_S):
                return await _exchange(process, json.dumps(request).encode())
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            # It is busy with what it will never end, or crashed over it.
            process = await _end(process)
            return {"fault": _LATE}
        except asyncio.CancelledError:
            # Its answer would be taken for the next request's.
            process = await _end(process)
            raise
        finally:
            self._free.put_nowait(process)


async def _start() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    nowhere = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tenantry.prompts.renderer", stdin=pipe, stdout=pipe, stderr=nowhere
    )


async def _exchange(process: asyncio.subprocess.Process, data: bytes) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(LENGTH.pack(len(data)) + data)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return json.loads(await process.stdout.readexactly(length))


async def _end(process: asyncio.subprocess.Process | None) -> None:
    if process is not None:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _sentence(answer: dict[str, Any]) -> str:
    kind = answer["fault"]
    line = f" in line {answer['line']}" if answer.get("line") else ""
    return _SENTENCES.get(kind, f"is not one that MiniJinja takes ({kind}{line})")
