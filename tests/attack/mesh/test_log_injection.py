"""A line put into the log by whoever may choose a path, a header or a credential."""

import json
import secrets

import grpc
import pytest

from tests.harness.mesh import RunningMesh

LIST_PROMPTS = "/tenantry.api.prompts.v1.PromptService/ListPrompts"


def test_a_line_put_into_the_log_by_a_path_a_header_or_a_credential(mesh: RunningMesh) -> None:
    if not mesh.processes:
        pytest.skip("the log of a mesh that runs elsewhere is not known")
    own = mesh.tenant()
    mark = f"forged{secrets.token_hex(4)}"
    line = f'{{"level":"CRITICAL","message":"{mark}"}}'
    with grpc.insecure_channel(mesh.edge) as channel:
        for path in (f"/{line}/{line}", f"/tenantry.api.prompts.v1.PromptService/%0A{line}"):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(path)(
                    b"", metadata=(("authorization", f"Bearer {own.key}"), ("x-more", line)), timeout=10
                )
        for credential in (line, f"{own.key}{line}"):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(LIST_PROMPTS)(
                    b"", metadata=(("authorization", f"Bearer {credential}"), ("x-more", line)), timeout=10
                )
    for one in mesh.logs().splitlines():
        if one.startswith("{"):
            assert json.loads(one).get("message") != mark
        assert not one.startswith(line)
