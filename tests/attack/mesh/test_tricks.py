"""Texts that try to be more than text: delimiters in names and cache fields, and templates that want out."""

import itertools
import secrets
import time
from typing import Any

import grpc
import pytest

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tests.attack.mesh.conftest import People
from tests.attack.mesh.contracts import outcome_of
from tests.harness.mesh import stub_of

BAD_FIELD = ("INVALID_ARGUMENT", "INVALID_FIELD")
NAMES = (
    "../other",
    "a/b",
    "a:b",
    "a{b}",
    "a*",
    "a b",
    "a\nb",
    "a\r\nb",
    "a\x00b",
    "A",
    "ä",
    "\u0430cme",  # a Cyrillic a
    "\uff41cme",  # a wide one
    "a\u200bb",
    "-a",
    "a-",
    "a" * 64,
    "%2e%2e",
    "a'--",
    "{a}",
    "4:acme",
)


def generate(people: People, **query: Any) -> pb.GenerateContentResponse:
    request = pb.GenerateContentRequest(query=pb.GenerationQuery(**query))
    return stub_of(GatewayServiceStub, people.mesh.channel(people.own.key)).GenerateContent(request)


def refused(call: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(request)
    return outcome_of(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_a_delimiter(people: People, name: str) -> None:
    channel = people.mesh.channel(people.own.key)
    prompts, gateway = stub_of(PromptServiceStub, channel), stub_of(GatewayServiceStub, channel)
    assert refused(prompts.GetPrompt, prompt_pb.GetPromptRequest(prompt=name)) == BAD_FIELD
    for query in (pb.GenerationQuery(question="?", prompt=name), pb.GenerationQuery(question="?", collections=[name])):
        assert refused(gateway.GenerateContent, pb.GenerateContentRequest(query=query)) == BAD_FIELD
    tenants = stub_of(TenantServiceStub, people.mesh.channel(people.mesh.operator_key))
    assert refused(tenants.GetTenant, tenant_pb.GetTenantRequest(tenant=name)) == BAD_FIELD
    sent = document_pb.UpsertDocumentsRequest(collection=name, document="x", text=b"x")
    [answer] = stub_of(DocumentServiceStub, channel).UpsertDocuments(iter([sent]))
    assert answer.outcome == document_pb.UPSERT_OUTCOME_REFUSED and answer.field == "collection"


def test_cache_fields_that_would_join_to_the_same_text(people: People) -> None:
    """Two queries whose fields differ only in where one ends and the next begins are two questions."""
    salt = secrets.token_hex(4)
    queries: list[dict[str, Any]] = [
        {"question": f"{salt} is it?", "locale": "en"},
        {"question": f"{salt} is it?e", "locale": "n"},
        {"question": f"{salt} is it?en", "locale": ""},
        {"question": f"{salt} is it?", "locale": "2:en"},
        {"question": f"9:{salt} is it?", "locale": "en"},
        {"question": f"{salt} is it?", "locale": "en", "passages": 1},
        {"question": f"{salt} is it?", "locale": "en", "passages": 11},
        {"question": f"{salt} is it?", "locale": "en", "max_output_tokens": 1},
        {"question": f"{salt} is it?", "locale": "en", "max_output_tokens": 11},
        {"question": f"{salt} is it?", "locale": "en", "temperature": 0.0},
        {"question": f"{salt} is it?", "locale": "en", "collections": ["a", "b"]},
        {"question": f"{salt} is it?", "locale": "en", "collections": ["a"]},
        {"question": f"{salt} is it?", "locale": "en", "personal": True},
        {"question": f"{salt} is it?", "locale": "en", "personal": True, "end_user": "a"},
        {"question": f"{salt} is it?", "locale": "en", "personal": True, "end_user": "a:1"},
    ]
    hits = [generate(people, **query).summary.usage.cache_hit for query in queries]
    assert hits == [False] * len(queries)


def test_a_question_that_is_a_template_is_not_rendered(people: People) -> None:
    channel = people.mesh.channel(people.own.key)
    prompts = stub_of(PromptServiceStub, channel)
    source = prompt_pb.PromptSource(system="Tone: {{ tone }}", user="{{ question }}")
    name = f"plain-{secrets.token_hex(3)}"
    prompts.CreatePrompt(prompt_pb.CreatePromptRequest(prompt=name, source=source))
    for text in ("{{ 7*7 }}", "{% for i in range(9) %}x{% endfor %}", "{{ question.__class__ }}", "{# gone #}"):
        rendered = prompts.RenderPrompt(
            prompt_pb.RenderPromptRequest(prompt=name, variables={"question": text, "tone": text})
        )
        assert rendered.user == text and rendered.system == f"Tone: {text}"


ESCAPES = (
    "{{ question.__class__.__mro__[1].__subclasses__() }}",
    "{{ question.__init__.__globals__ }}",
    "{{ self.__dict__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].environ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% extends '/etc/hostname' %}",
    "{{ question | attr('__class__') }}",
    "{{ question.format.__func__ }}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_that_wants_out(people: People, template: str) -> None:
    prompts = stub_of(PromptServiceStub, people.mesh.channel(people.own.key))
    name = f"escape-{secrets.token_hex(4)}"
    source = prompt_pb.PromptSource(user=template)
    try:
        prompts.CreatePrompt(prompt_pb.CreatePromptRequest(prompt=name, source=source))
        rendered = prompts.RenderPrompt(prompt_pb.RenderPromptRequest(prompt=name, variables={"question": "q"}))
    except grpc.RpcError as error:
        assert outcome_of(error)[0] == "INVALID_ARGUMENT"
        return
    for word in ("class", "root:", "environ", "PATH", "uid=", "function", "object at"):
        assert word not in rendered.user


GREEDY = (
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
    "{{ 'x' * 1000000000 }}",
    "{{ ['x'] * 1000000000 }}",
    "{{ question | tojson(indent=100000000) }}",
    "{{ question | indent(100000000) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% set ns = namespace(x='x') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
)


@pytest.mark.parametrize("template", GREEDY, ids=lambda one: one[:40])
def test_a_template_that_wants_all_time_or_memory(people: People, template: str) -> None:
    prompts = stub_of(PromptServiceStub, people.mesh.channel(people.own.key))
    name = f"greedy-{secrets.token_hex(4)}"
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        prompts.CreatePrompt(prompt_pb.CreatePromptRequest(prompt=name, source=prompt_pb.PromptSource(user=template)))
        prompts.RenderPrompt(prompt_pb.RenderPromptRequest(prompt=name, variables={"question": "q"}))
    assert outcome_of(error.value)[0] == "INVALID_ARGUMENT"
    assert time.monotonic() - started < 15
    # Everybody else is still served.
    assert prompts.RenderPrompt(prompt_pb.RenderPromptRequest(variables={"question": "q"})).user


def test_names_that_differ_only_by_a_dash_are_two(people: People) -> None:
    channel = people.mesh.channel(people.own.key)
    names = [f"d-{secrets.token_hex(2)}", "a-b", "ab", "a--b"]
    requests = [
        document_pb.UpsertDocumentsRequest(collection=collection, document=name, text=f"{collection} {name}".encode())
        for collection, name in itertools.product(("c-d", "cd"), names)
    ]
    answers = list(stub_of(DocumentServiceStub, channel).UpsertDocuments(iter(requests)))
    assert {one.outcome for one in answers} == {document_pb.UPSERT_OUTCOME_CREATED}
