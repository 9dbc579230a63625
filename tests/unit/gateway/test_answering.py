"""What bounds the work of the gateway."""

import asyncio
from typing import Any

import pytest

from tenantry.gateway.answering import MAX_AFTERWARDS, Answering
from tenantry.gateway.query import Query
from tenantry.gateway.settings import Settings
from tenantry.gateway.tokens import Tokens
from tenantry.kit.errors import Reason, ResourceExhausted
from tests.harness.clock import FrozenClock


async def test_nothing_new_begins_while_too_much_waits_to_be_settled() -> None:
    peers: Any = None
    answering = Answering(peers, Settings(), FrozenClock(), Tokens())
    waiting: Any = [asyncio.get_running_loop().create_future() for _ in range(MAX_AFTERWARDS)]
    answering._afterwards = set(waiting)
    with pytest.raises(ResourceExhausted) as refused:
        await anext(answering.answer(Query("How long?"), streamed=False))
    assert refused.value.reason is Reason.SERVER_BUSY and refused.value.retry_after_s
