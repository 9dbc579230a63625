"""Our subset of Envoy's contracts is Envoy's on the wire: the same names of RPCs, and the same number and type a field.

The facts are those of envoyproxy/envoy v1.40.0, read in its `api/` folder at the paths named.
"""

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from tenantry.api.envoy.service.auth.v3 import external_auth_pb2
from tenantry.api.envoy.service.ratelimit.v3 import rls_pb2

_FILES = (external_auth_pb2, rls_pb2)
# message: {field: (number, type)}, `*` behind the type of a repeated one. An enum or a message of the same wire form is
# named by that form: HttpStatus.code is an enum there, CheckResponse.status google.rpc.Status.
PUBLISHED = {
    # envoy/service/auth/v3/external_auth.proto
    "envoy.service.auth.v3.CheckRequest": {"attributes": (1, "message")},
    "envoy.service.auth.v3.CheckResponse": {
        "status": (1, "message"),
        "denied_response": (2, "message"),
        "ok_response": (3, "message"),
        "dynamic_metadata": (4, "message"),
    },
    "envoy.service.auth.v3.DeniedHttpResponse": {
        "status": (1, "message"),
        "headers": (2, "message*"),
        "body": (3, "string"),
    },
    "envoy.service.auth.v3.OkHttpResponse": {"headers": (2, "message*"), "headers_to_remove": (5, "string*")},
    # envoy/service/auth/v3/attribute_context.proto
    "envoy.service.auth.v3.AttributeContext": {"source": (1, "message"), "request": (4, "message")},
    "envoy.service.auth.v3.AttributeContext.Peer": {"address": (1, "message")},
    "envoy.service.auth.v3.AttributeContext.Request": {"http": (2, "message")},
    "envoy.service.auth.v3.AttributeContext.HttpRequest": {"path": (4, "string"), "header_map": (13, "message")},
    # envoy/config/core/v3/base.proto, address.proto; envoy/type/v3/http_status.proto; google/rpc/status.proto
    "envoy.config.core.v3.HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "envoy.config.core.v3.HeaderMap": {"headers": (1, "message*")},
    "envoy.config.core.v3.HeaderValueOption": {"header": (1, "message")},
    "envoy.config.core.v3.Address": {"socket_address": (1, "message")},
    "envoy.config.core.v3.SocketAddress": {"address": (2, "string"), "port_value": (3, "varint")},
    "envoy.type.v3.HttpStatus": {"code": (1, "varint")},
    "envoy.service.auth.v3.CheckResponse.Status": {"code": (1, "varint")},
    # envoy/service/ratelimit/v3/rls.proto, envoy/extensions/common/ratelimit/v3/ratelimit.proto
    "envoy.service.ratelimit.v3.RateLimitRequest": {
        "domain": (1, "string"),
        "descriptors": (2, "message*"),
        "hits_addend": (3, "varint"),
    },
    "envoy.service.ratelimit.v3.RateLimitResponse": {
        "overall_code": (1, "varint"),
        "response_headers_to_add": (3, "message*"),
        "raw_body": (5, "bytes"),
    },
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor": {
        "entries": (1, "message*"),
        "hits_addend": (3, "message"),
        "is_negative_hits": (4, "varint"),
    },
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry": {"key": (1, "string"), "value": (2, "string")},
}
_TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_ENUM: "varint",
    FieldDescriptor.TYPE_BOOL: "varint",
    FieldDescriptor.TYPE_INT32: "varint",
    FieldDescriptor.TYPE_UINT32: "varint",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_message_of_envoy_s_has_the_published_numbers(name: str) -> None:
    found = descriptor_pool.Default().FindMessageTypeByName(name)
    ours = {one.name: (one.number, _TYPES[one.type] + "*" * one.is_repeated) for one in found.fields}
    assert ours == PUBLISHED[name]


def test_no_message_of_envoy_s_is_left_out_of_the_table() -> None:
    pending, ours = [module.DESCRIPTOR for module in _FILES], set[str]()
    while pending:
        file = pending.pop()
        pending += [one for one in file.dependencies if one.package.startswith("envoy.")]
        messages = list(file.message_types_by_name.values())
        while messages:
            message = messages.pop()
            ours.add(message.full_name)
            messages += message.nested_types
    assert ours == set(PUBLISHED)


def test_the_rpcs_have_the_published_names_and_the_decisions_their_numbers() -> None:
    assert external_auth_pb2.DESCRIPTOR.services_by_name["Authorization"].methods_by_name.keys() == ["Check"]
    assert rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"].methods_by_name.keys() == ["ShouldRateLimit"]
    assert dict(rls_pb2.RateLimitResponse.Code.items()) == {"UNKNOWN": 0, "OK": 1, "OVER_LIMIT": 2}
