"""Anthropic's messages through the anthropic SDK."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from tenantry.models import faults
from tenantry.models.clients import Clients
from tenantry.models.faults import Kind
from tenantry.models.framing import framed, new_mark, schema_instruction, system_of
from tenantry.models.generation import Ask, Counts, Ended, Finish, Piece, Role, Target
from tenantry.models.model import Provider
from tenantry.models.sdk_faults import Meaning, Meanings, fault

NAME = Provider.ANTHROPIC.value
OWN_URL = "https://api.anthropic.com"
_NO_CREDENTIAL = "none"
_FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "refusal": Finish.FILTERED,
}


class AnthropicProvider:
    """An AnswerProvider."""

    def __init__(self, clients: Clients[Any]) -> None:
        self._clients = clients

    async def generate(
        self, target: Target, ask: Ask, *, stream: bool, connect_s: float
    ) -> AsyncGenerator[Piece, None]:
        begun = False
        try:
            async with self._clients.lease(target) as client:
                ask_it = _streamed if stream else _whole
                async with aclosing(ask_it(client, parameters_of(target, ask), connect_s)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
        except Exception as error:
            raise fault(NAME, error, meanings(), begun=begun) from None


def make_client(target: Target, *, loopback: bool) -> Any:
    """A client that repeats nothing, takes nothing from the environment and makes no spans, whose content would not be ours
    to choose. Blocks: the first imports the SDK."""
    from anthropic import AsyncAnthropic

    from tenantry.kit.public_http import http_client

    client = AsyncAnthropic(
        api_key=target.credential or _NO_CREDENTIAL,
        base_url=target.base_url or OWN_URL,
        max_retries=0,
        open_telemetry=False,
        http_client=http_client(loopback=loopback),
    )
    assert client.messages is not None  # which imports its modules
    return client


def load() -> None:
    """Imports all that a call needs. Blocks for seconds."""
    make_client(Target(Provider.ANTHROPIC, ""), loopback=False)


def parameters_of(target: Target, ask: Ask) -> dict[str, Any]:
    """The request's body."""
    turns = framed(ask, new_mark())
    system = system_of(turns)
    if ask.output_schema:
        system = f"{system}\n\n{schema_instruction(ask.output_schema)}".lstrip()
    parameters: dict[str, Any] = {
        "model": target.provider_model,
        "max_tokens": ask.max_output_tokens,
        "messages": [{"role": one.role.value, "content": one.text} for one in turns if one.role is not Role.SYSTEM],
    }
    if system:
        parameters["system"] = system
    if ask.temperature is not None:
        parameters["temperature"] = min(ask.temperature, 1.0)
    return parameters


async def _whole(client: Any, parameters: dict[str, Any], connect_s: float) -> AsyncGenerator[Piece, None]:
    answer: Any = await _post(client, parameters, connect_s)
    text = "".join(str(block["text"]) for block in answer["content"] if block["type"] == "text")
    counts = _counts(answer, _count(answer, "output_tokens"))
    ended = Ended(counts, _FINISHES.get(answer.get("stop_reason"), Finish.UNKNOWN), str(answer.get("model") or ""))
    yield text
    yield ended


async def _streamed(client: Any, parameters: dict[str, Any], connect_s: float) -> AsyncGenerator[Piece, None]:
    read = Counts()
    written: int | None = None
    stop: str | None = None
    revision = ""
    async with await _post(client, parameters | {"stream": True}, connect_s) as stream:
        async for event in stream:
            kind = event["type"]
            if kind == "content_block_delta":
                if event["delta"]["type"] == "text_delta":
                    yield str(event["delta"]["text"])
            elif kind == "message_start":
                revision = str(event["message"].get("model") or "")
                read = _counts(event["message"], None)
                yield read
            elif kind == "message_delta":
                stop = event["delta"].get("stop_reason") or stop
                written = _count(event, "output_tokens")
            elif kind == "message_stop":
                counts = replace(read, output_tokens=written)
                yield Ended(counts, _FINISHES.get(stop or "", Finish.UNKNOWN), revision)
                return
    raise faults.unavailable(NAME, Kind.CUT if revision else Kind.GARBAGE)


async def _post(client: Any, body: dict[str, Any], connect_s: float) -> Any:
    """What `client.messages.create` does, but for turning the body and the answer into the SDK's types and back, which costs
    as much again as all the rest."""
    from anthropic import AsyncStream

    from tenantry.kit.public_http import timeout

    return await client.post(
        "/v1/messages",
        body=body,
        cast_to=object,
        stream=bool(body.get("stream")),
        stream_cls=AsyncStream[object],
        options={"timeout": timeout(connect_s)},
    )


def _counts(told: Any, written: int | None) -> Counts:
    """Anthropic counts apart what is read anew, from its cache and into it; here all of it is input."""
    read, cached = _count(told, "input_tokens"), _count(told, "cache_read_input_tokens") or 0
    into_cache = _count(told, "cache_creation_input_tokens") or 0
    return Counts(None if read is None else read + cached + into_cache, written, cached)


def _count(told: Any, name: str) -> int | None:
    usage: Any = told.get("usage") or {}
    count = usage.get(name)
    return count if isinstance(count, int) and count >= 0 else None


def meanings() -> Meanings:
    """What each of the SDK's exceptions means; a test fails on one that is neither here nor below one that is."""
    import anthropic

    return {
        anthropic.APIStatusError: Meaning.STATUS,
        anthropic.APIConnectionError: Meaning.FAILED,
        anthropic.APIResponseValidationError: Meaning.GARBAGE,
        anthropic.APIError: Meaning.FAILED,
        anthropic.RetryableError: Meaning.FAILED,
        anthropic.CredentialsError: Meaning.REFUSED,
        anthropic.AnthropicError: Meaning.REFUSED,  # the SDK itself finds the request or credential wanting
    }
