"""Keys and fields of the books."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.owner import Tenant
from tenantry.quota import keys

_ids = st.text(alphabet="ab1-:", min_size=1, max_size=6)


def test_an_organisation_stays_in_its_bucket_whatever_the_version() -> None:
    assert [keys.bucket_of(name) for name in ("acme-org", "globex-org")] == [201, 207]


def test_all_keys_of_a_bucket_share_its_slot_and_no_other_has_it() -> None:
    slots = [{key[: key.index("}")] for key in keys.bucket_keys(bucket)} for bucket in range(keys.BUCKETS)]
    assert all(len(found) == 1 for found in slots)
    assert len({found.pop() for found in slots}) == keys.BUCKETS


@given(_ids, _ids, _ids, _ids)
def test_no_two_tenants_and_nonces_share_a_field(tenant: str, nonce: str, other: str, another: str) -> None:
    fields = keys.nonce_field(Tenant("o", tenant), nonce), keys.nonce_field(Tenant("o", other), another)
    assert (fields[0] == fields[1]) == ((tenant, nonce) == (other, another))
