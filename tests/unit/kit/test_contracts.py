"""The list of contracts that clients may call is whole: what is missing in it has no route, whichever edge there is."""

from pathlib import Path

from tenantry.kit import contracts

PROTOS = Path(__file__).parents[3] / "protos" / "tenantry" / "api"


def test_every_rpc_for_clients_has_a_route() -> None:
    written = {
        path.relative_to(PROTOS).with_suffix("").as_posix()
        for path in PROTOS.glob("*/v1/*.proto")
        if "AUDIENCE_PUBLIC" in path.read_text() or "AUDIENCE_ADMIN" in path.read_text()
    } - {"common/v1/access"}
    listed = {
        module.DESCRIPTOR.name.removeprefix("tenantry/api/").removesuffix(".proto") for module in contracts.load()
    }
    assert listed == written
