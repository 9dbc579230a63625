"""OpenAI's chat completions, and whatever speaks them at another address, through the openai SDK."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from tenantry.models import faults
from tenantry.models.clients import Clients
from tenantry.models.faults import Kind
from tenantry.models.framing import framed, new_mark
from tenantry.models.generation import Ask, Counts, Ended, Finish, Piece, Target
from tenantry.models.model import Provider
from tenantry.models.sdk_faults import Meaning, Meanings, fault

NAME = Provider.OPENAI.value
OWN_URL = "https://api.openai.com/v1"
# The SDK needs some key, and a server of one's own may want none.
_NO_CREDENTIAL = "none"
_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTERED}


class OpenAIProvider:
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
    """A client that repeats nothing and takes nothing from the environment. Blocks: the first imports the SDK."""
    from openai import AsyncOpenAI

    from tenantry.kit.public_http import http_client

    client = AsyncOpenAI(
        api_key=target.credential or _NO_CREDENTIAL,
        base_url=target.base_url or OWN_URL,
        max_retries=0,
        http_client=http_client(loopback=loopback),
    )
    client.organization = client.project = None
    assert client.chat.completions is not None  # which imports its modules
    return client


def load() -> None:
    """Imports all that a call needs. Blocks for seconds."""
    make_client(Target(Provider.OPENAI, ""), loopback=False)


def parameters_of(target: Target, ask: Ask) -> dict[str, Any]:
    """The request's body."""
    parameters: dict[str, Any] = {
        "model": target.provider_model,
        "messages": [{"role": turn.role.value, "content": turn.text} for turn in framed(ask, new_mark())],
        # OpenAI's newer models refuse the old name, and many servers that speak its API know only that.
        "max_tokens" if target.base_url else "max_completion_tokens": ask.max_output_tokens,
    }
    if ask.temperature is not None:
        parameters["temperature"] = ask.temperature
    if ask.output_schema:
        parameters["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": json.loads(ask.output_schema)},
        }
    return parameters


async def _whole(client: Any, parameters: dict[str, Any], connect_s: float) -> AsyncGenerator[Piece, None]:
    answer: Any = await _post(client, parameters, connect_s)
    choice = answer["choices"][0]
    text = _text(choice["message"])
    ended = Ended(_counts(answer), _FINISHES.get(choice.get("finish_reason"), Finish.UNKNOWN), _model(answer))
    yield text
    yield ended


async def _streamed(client: Any, parameters: dict[str, Any], connect_s: float) -> AsyncGenerator[Piece, None]:
    finish: str | None = None
    counts = Counts()
    revision = ""
    heard = False
    body = parameters | {"stream": True, "stream_options": {"include_usage": True}}
    async with await _post(client, body, connect_s) as stream:
        async for chunk in stream:
            heard = True
            revision = revision or _model(chunk)
            if chunk.get("usage"):
                counts = _counts(chunk)
            for choice in chunk.get("choices") or ():
                finish = choice.get("finish_reason") or finish
                text = _text(choice.get("delta") or {})
                if text:
                    yield text
    if finish is None:
        raise faults.unavailable(NAME, Kind.CUT if heard else Kind.GARBAGE)
    yield Ended(counts, _FINISHES.get(finish, Finish.UNKNOWN), revision)


async def _post(client: Any, body: dict[str, Any], connect_s: float) -> Any:
    """What `client.chat.completions.create` does, but for turning the body and the answer into the SDK's types and back, which
    costs as much again as all the rest."""
    from openai import AsyncStream

    from tenantry.kit.public_http import timeout

    return await client.post(
        "/chat/completions",
        body=body,
        cast_to=object,
        stream=bool(body.get("stream")),
        stream_cls=AsyncStream[object],
        options={"timeout": timeout(connect_s)},
    )


def _text(message: Any) -> str:
    text = message.get("content") or message.get("refusal") or ""
    if not isinstance(text, str):
        raise faults.unavailable(NAME, Kind.GARBAGE)
    return text


def _model(answer: Any) -> str:
    return str(answer.get("model") or "")


def _counts(answer: Any) -> Counts:
    usage: Any = answer.get("usage") or {}
    details: Any = usage.get("prompt_tokens_details") or {}
    cached = _count(details.get("cached_tokens")) or 0
    return Counts(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), cached)


def _count(told: Any) -> int | None:
    return told if isinstance(told, int) and told >= 0 else None


def meanings() -> Meanings:
    """What each of the SDK's exceptions means; a test fails on one that is neither here nor below one that is."""
    import openai

    return {
        openai.APIStatusError: Meaning.STATUS,
        openai.APIConnectionError: Meaning.FAILED,
        openai.APIResponseValidationError: Meaning.GARBAGE,
        openai.APIError: Meaning.FAILED,  # told in a stream
        openai.LengthFinishReasonError: Meaning.GARBAGE,
        openai.ContentFilterFinishReasonError: Meaning.GARBAGE,
        openai.OpenAIError: Meaning.REFUSED,  # the SDK itself finds the request or credential wanting
    }
