"""Waiting for a condition."""

import pytest

from tests.harness.poll import until


async def test_it_returns_as_soon_as_the_condition_is_true() -> None:
    answers = iter([False, False, True])
    await until(lambda: next(answers), every_s=0)


async def test_the_condition_may_be_async() -> None:
    async def true() -> bool:
        return True

    await until(true)


async def test_a_condition_that_stays_false_fails_the_test_with_its_name() -> None:
    with pytest.raises(AssertionError, match=r"the lamp did not become true within 0\.02 s"):
        await until(lambda: False, within_s=0.02, what="the lamp")
