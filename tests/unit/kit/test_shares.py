"""Nobody takes the seats of all."""

import pytest

from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.kit.shares import Shares


def test_who_has_his_share_is_refused_and_others_are_not() -> None:
    shares = Shares(2)
    shares.take("acme")
    shares.take("acme")
    with pytest.raises(ResourceExhausted) as refused:
        shares.take("acme")
    assert refused.value.reason is Reason.SERVER_BUSY and refused.value.retry_after_s
    shares.take("globex")
    shares.give("acme")
    shares.take("acme")
