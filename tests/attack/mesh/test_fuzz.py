"""Requests that are generated and broken, to every RPC of a mesh: refused or answered, never a fault, a crash or a hang."""

import os
import random

import pytest

from tests.attack.mesh.contracts import rpcs
from tests.harness.fuzz import run
from tests.harness.fuzz_messages import Requests

INPUTS = 2_000
SEED = int(os.environ.get("TENANTRY_TEST_SEED", "4"))


@pytest.mark.timeout(300)
def test_broken_and_odd_requests_to_every_rpc() -> None:
    result = run(INPUTS, SEED)
    assert not result.found, f"seed {SEED}:\n" + "\n".join(f"{kind}: {one}" for kind, one in result.found.items())
    assert set(result.counts) == {str(rpc) for rpc in rpcs()} and min(result.counts.values()) > 20
    # What is refused at the first check tries nothing behind it.
    assert result.statuses["OK"] > INPUTS // 10


def test_the_same_seed_makes_the_same_requests() -> None:
    def made(seed: int) -> list[bytes]:
        requests = Requests(random.Random(seed))
        return [requests.make(rpc.path, rpc.method.input_type) for rpc in rpcs()]

    assert made(1) == made(1) != made(2)
