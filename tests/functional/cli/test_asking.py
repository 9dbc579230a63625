"""`tenantry ask`, and what is left of an answer: usage, limits, a trace."""

import asyncio
import re
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.functional.cli.command import Command
from tests.functional.cli.crowd import crowd
from tests.harness import mesh
from tests.harness.poll import until
from tests.harness.provider import Reply

_DEMO = Path(__file__).parents[3] / "deploy" / "demo"
_QUESTION = "'How long is the refund period?'"


@pytest.fixture
def asking(tenantry: Command) -> Command:
    """A tenant with a document that has the answer."""
    tenantry.file("refunds.md", (_DEMO / "acme" / "refunds.md").read_text())
    assert tenantry("docs add refunds.md").status == 0
    return tenantry


async def test_an_answer_comes_with_its_sources_and_is_found_in_usage_and_limits(asking: Command) -> None:
    answer = asking(f"ask {_QUESTION} --end-user user-7").json()
    assert "45 days" in answer["text"] and answer["citations"][0]["document"] == "refunds.md"
    assert answer["request_id"] and answer["trace_id"]
    shown = asking.on_terminal(f"ask {_QUESTION}")
    assert shown.status == 0 and "45 days" in shown.out and "[1] refunds.md" in shown.out, shown
    assert "from the cache" in shown.out and "request " in shown.out
    assert "from the cache" not in asking.on_terminal(f"ask {_QUESTION} --no-cache").out
    limits = asking("limits").json()
    assert int(limits["requests_available"]) > 0
    # The ledger reads what was settled within seconds.
    total = asking("usage").json()
    for _ in range(40):
        if total["requests"] == "3":
            break
        total = asking("usage").json()
    assert (total["requests"], total["cache_hits"]) == ("3", "1")
    assert "user-7" in [line["group"] for line in asking("usage --by end_user").lines()]
    assert "requests" in asking.on_terminal("usage").out and "concurrent_requests" in asking.on_terminal("limits").out


def test_a_trace_is_a_tree_of_the_services_on_a_terminal(asking: Command) -> None:
    answer = asking(f"ask {_QUESTION}").json()
    shown = asking.on_terminal(f"trace {answer['request_id']}")
    assert shown.status == 0, shown
    assert answer["trace_id"] in shown.out and "└──" in shown.out and " ms" in shown.out
    # Envoy asks tenancy before the request has a trace.
    asked = ("gateway", "quota", "prompts", "cache", "retrieval", "models", *([] if mesh.BEHIND_ENVOY else ["tenancy"]))
    for service in asked:
        assert service in shown.out, shown.out
    spans = asking(f"trace {answer['trace_id']}").json()["spans"]
    assert len(spans) > 7
    assert answer["trace_id"] in [line["trace_id"] for line in asking("trace").lines()]
    assert "NOT_FOUND" in asking("trace req_of-nobody").err


def test_a_question_that_cannot_be_answered_is_refused_in_a_sentence(asking: Command, operator: Command) -> None:
    for line, reason in (
        ("ask ''", "question"),
        ("ask why --model none", "model"),
        ("ask why --prompt none", "prompt"),
    ):
        refused = asking(line)
        assert refused.status == 1 and reason in refused.err and refused.err.count("\n") == 1, refused
    by_nobody = operator(f"ask {_QUESTION}")
    assert by_nobody.status == 1 and "CALLER_NOT_ALLOWED" in by_nobody.err
    of_stranger = operator(f"ask {_QUESTION} --tenant stranger")
    assert of_stranger.status == 1 and "stranger" in of_stranger.err


async def test_who_waits_for_its_turn_sees_its_place_on_a_terminal_and_nothing_in_a_pipe(
    local: mesh.RunningMesh, keys: mesh.TenantKeys, tenantry: Command
) -> None:
    async with crowd(local) as pool:
        pool.server.script(Reply("word " * 30, token_s=0.1))
        pool.server.reply = Reply("At last.")
        pool.call(keys.key)
        await until(lambda: len(pool.server.requests) == 1, 20)
        line = f"ask {_QUESTION} --model {pool.model} --no-cache"
        shown, piped = await asyncio.gather(
            asyncio.to_thread(tenantry.on_terminal, line, errors_too=True), asyncio.to_thread(tenantry, line)
        )
    assert shown.status == 0 and re.search("waiting, place [12]", shown.out) and "At last." in shown.out, shown
    assert piped.json()["text"] == "At last." and piped.err == ""


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "no.such.host.invalid:7700"])
def test_an_address_of_nothing_is_said(operator: Command, address: str) -> None:
    refused = operator(f"ask {_QUESTION} --key tnt_x --address {address}")
    assert refused.status == 1 and "the mesh does not answer" in refused.err and refused.err.count("\n") == 1, refused


@pytest.mark.parametrize("host", ["tenantry.example.invalid", "127.0.0.1.example.invalid", "192.0.2.1"])
def test_a_local_key_is_not_sent_to_another_machine(operator: Command, host: str) -> None:
    refused = operator(f"docs list --address {host}:443")
    assert refused.status == 1 and "--key" in refused.err


@pytest.mark.parametrize("command", ["ask why", "docs list"])
def test_ctrl_c_ends_a_waiting_command_at_once(operator: Command, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(30)
        arguments = operator.arguments(f"{command} --key tnt_x --address 127.0.0.1:{deaf.getsockname()[1]}")
        # A shell that runs the tests in the background has told them to ignore Ctrl-C, and children inherit that.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen(
            arguments, env=operator.environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed
        ) as process:
            called, _ = deaf.accept()
            with called:
                assert called.recv(24).startswith(b"PRI * HTTP/2")
                process.send_signal(2)
                _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and "Traceback" not in err, err


def test_a_pipe_that_is_closed_early_is_no_fault(asking: Command) -> None:
    for number in range(3):
        asking.file(f"pages/{number}.md", "# Page\n\nWords.\n")
    asking("docs add pages")
    command = " ".join(asking.arguments("docs list"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exec {command} >&-"],
        env=asking.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
