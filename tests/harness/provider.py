"""A model provider on the loopback that speaks both wire formats: OpenAI's chat completions and Anthropic's messages.

async with provider() as server:
    register a model with base_url=server.openai_url (or server.anthropic_url), then say how it shall answer:
    server.reply = Reply("All is well.")                     # every request from now on
    server.script(Reply(status=429, retry_after="7"), Reply("At last."))     # the next requests, before `reply` again
    ...
    server.requests[0].json["messages"]                      # what it was asked: path, headers, body
    await until(lambda: server.disconnects == 1)             # a caller went before its answer was complete

Each word of an answer is a delta. An error's text quotes the request, as real providers' do, so that a test can look for it.
As a process of its own, for benchmarks: `python -m tests.harness.provider` prints its address and answers until it is stopped.
"""

import asyncio
import gzip
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """How one request is answered. The faults exclude each other; without one it is a complete answer.

    `cut_after` deltas the connection breaks; with `hang_after` it stays open and nothing comes any more; 0 is before the first.
    `garbage` is a body, or in a stream a line, that is no JSON; `error_after` deltas the stream tells an error of the provider.
    `packed` is an answer that is compressed though nobody asked for that.
    """

    text: str = "The provider's answer."
    status: int = 200
    retry_after: str = ""
    hang_after: int | None = None
    cut_after: int | None = None
    error_after: int | None = None
    garbage: bool = False
    packed: bool = False
    location: str = ""
    token_s: float = 0.0
    counts: bool = True
    input_tokens: int = 11
    output_tokens: int = 7
    cached_tokens: int = 0
    finish: str = "stop"
    model: str = "provider-model-2026"


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def stream(self) -> bool:
        return bool(self.json.get("stream"))


@dataclass
class ProviderServer:
    """The running server; see the module."""

    reply: Reply = field(default_factory=Reply)
    requests: list[Asked] = field(default_factory=list)
    disconnects: int = 0
    port: int = 0
    keep: bool = True
    _next: deque[Reply] = field(default_factory=deque)

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def anthropic_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, *replies: Reply) -> None:
        """The next requests are answered so, in order."""
        self._next.extend(replies)

    def take(self, asked: Asked) -> Reply:
        """The reply for a request that came in."""
        if self.keep:
            self.requests.append(asked)
        return self._next.popleft() if self._next else self.reply


@asynccontextmanager
async def provider(port: int = 0) -> AsyncIterator[ProviderServer]:
    """A provider while the block runs."""
    state = ProviderServer()
    connections: set[_Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state, connections), "127.0.0.1", port)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for connection in list(connections):
            connection.end()
        await server.wait_closed()


class _Connection(asyncio.Protocol):
    """One kept-alive connection, a request at a time."""

    def __init__(self, state: ProviderServer, connections: "set[_Connection]") -> None:
        self._state = state
        self._connections = connections
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of another class.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._task is not None and not self._task.done():
            self._state.disconnects += 1
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return
        request, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        asked = Asked(request.split(" ")[1], headers, self._buffer[end + 4 : whole])
        self._buffer = self._buffer[whole:]
        self._task = asyncio.get_running_loop().create_task(self._answer(asked, self._state.take(asked)))

    def end(self) -> None:
        """Breaks the connection."""
        self._transport.abort()

    async def _answer(self, asked: Asked, reply: Reply) -> None:
        wire = _Anthropic(reply) if asked.path.endswith("/messages") else _OpenAI(reply)
        if reply.status != 200:
            words = {"message": f"refused: {asked.body.decode(errors='replace')}", "type": "some_error"}
            self._whole(reply, json.dumps({"type": "error", "error": words}).encode())
        elif asked.stream:
            await self._stream(reply, wire)
        elif reply.hang_after is not None:
            await asyncio.Event().wait()
        elif reply.cut_after is not None:
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{")
            self._transport.close()
        else:
            if reply.token_s:
                await asyncio.sleep(reply.token_s * len(reply.text.split()))
            body = b"<html>not JSON" if reply.garbage else json.dumps(wire.whole()).encode()
            self._whole(reply, gzip.compress(body) if reply.packed else body)

    def _whole(self, reply: Reply, body: bytes) -> None:
        extra = f"retry-after: {reply.retry_after}\r\n" if reply.retry_after else ""
        extra += "content-encoding: gzip\r\n" if reply.packed else ""
        extra += f"location: {reply.location}\r\n" if reply.location else ""
        head = (
            f"HTTP/1.1 {reply.status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)

    async def _stream(self, reply: Reply, wire: "_OpenAI | _Anthropic") -> None:
        packed = "content-encoding: gzip\r\n" if reply.packed else ""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{packed}transfer-encoding: chunked\r\n\r\n"
        self._transport.write(head.encode())
        self._event(*wire.begin())
        for place, delta in enumerate(re.findall(r"\s*\S+", reply.text)):
            if await self._breaks(reply, wire, place):
                return
            if reply.token_s:
                await asyncio.sleep(reply.token_s)
            self._event(*wire.delta(delta))
        if await self._breaks(reply, wire, None):
            return
        self._event(*wire.end())
        self._transport.write(b"0\r\n\r\n")

    async def _breaks(self, reply: Reply, wire: "_OpenAI | _Anthropic", place: int | None) -> bool:
        """Whether the answer ends here, before the delta at `place`; None is behind the last."""
        if reply.hang_after is not None and place in (reply.hang_after, None):
            await asyncio.Event().wait()
        if reply.cut_after is not None and place in (reply.cut_after, None):
            self._transport.close()
            return True
        if reply.error_after is not None and place in (reply.error_after, None):
            self._event(*wire.error())
            self._transport.write(b"0\r\n\r\n")
            return True
        if reply.garbage:
            self._event("event: content_block_delta\ndata: {not JSON\n\n")
            self._transport.write(b"0\r\n\r\n")
            return True
        return False

    def _event(self, *events: str) -> None:
        data = "".join(events).encode()
        if data:
            self._transport.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class _OpenAI:
    """The chat completions format."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def whole(self) -> dict[str, Any]:
        reply = self._reply
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish}
        answer = self._common("chat.completion") | {"choices": [choice]}
        return answer | ({"usage": self._usage()} if reply.counts else {})

    def begin(self) -> list[str]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def delta(self, text: str) -> list[str]:
        return [self._chunk({"content": text})]

    def end(self) -> list[str]:
        usage = self._common("chat.completion.chunk") | {"choices": [], "usage": self._usage()}
        told = [f"data: {json.dumps(usage)}\n\n"] if self._reply.counts else []
        return [self._chunk({}, self._reply.finish), *told, "data: [DONE]\n\n"]

    def error(self) -> list[str]:
        return ['data: {"error": {"message": "the engine said SECRET-WORDS", "type": "server_error"}}\n\n']

    def _chunk(self, delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps(self._common('chat.completion.chunk') | {'choices': [choice]})}\n\n"

    def _common(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1_760_000_000, "model": self._reply.model}

    def _usage(self) -> dict[str, Any]:
        read, written = self._reply.input_tokens, self._reply.output_tokens
        cached = {"prompt_tokens_details": {"cached_tokens": self._reply.cached_tokens}}
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written} | cached


_STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}


class _Anthropic:
    """The messages format."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def whole(self) -> dict[str, Any]:
        reply = self._reply
        stop = _STOPS.get(reply.finish, reply.finish)
        return self._message([{"type": "text", "text": reply.text}], stop, reply.output_tokens)

    def begin(self) -> list[str]:
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return [self._event({"type": "message_start", "message": self._message([], None, 1)}), self._event(block)]

    def delta(self, text: str) -> list[str]:
        return [self._event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})]

    def end(self) -> list[str]:
        stop = {"stop_reason": _STOPS.get(self._reply.finish, self._reply.finish), "stop_sequence": None}
        usage = {"usage": {"output_tokens": self._reply.output_tokens}} if self._reply.counts else {}
        return [
            self._event({"type": "content_block_stop", "index": 0}),
            self._event({"type": "message_delta", "delta": stop} | usage),
            self._event({"type": "message_stop"}),
        ]

    def error(self) -> list[str]:
        words = {"type": "overloaded_error", "message": "the engine said SECRET-WORDS"}
        return [self._event({"type": "error", "error": words})]

    def _message(self, content: list[dict[str, str]], stop: str | None, written: int) -> dict[str, Any]:
        cached = self._reply.cached_tokens
        counts = {"input_tokens": self._reply.input_tokens - cached, "cache_read_input_tokens": cached}
        usage = {"usage": counts | {"output_tokens": written}}
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self._reply.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
        } | (usage if self._reply.counts else {})

    def _event(self, event: dict[str, Any]) -> str:
        return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


async def _serve() -> None:
    async with provider() as server:
        server.keep = False
        print(server.anthropic_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
