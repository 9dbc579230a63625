"""Requests for any RPC, made from its descriptor: sensible, odd at the edges, or broken as bytes. Chance is the caller's dice.

What answers said before (ids, handles, receipts, page tokens, whole messages) is put into later requests, so that they get
behind the first check; and requests whose answer was a new one are kept, to be changed a little and sent again.
"""

import random
import string
from collections import defaultdict, deque
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

_KEPT = 64
_LONGEST = 200
# Some contracts nest without end: a request has so many messages in it at most.
_MOST_MESSAGES = 300
_INTEGERS = (0, 1, 2, 3, 7, 100, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 2**64 - 1)
_FLOATS = (0.0, -0.0, 1.0, 0.5, -1.0, 1e-300, 1e308, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    *("", " ", "a", "acme", "default", "production", "extractive", "en", "enterprise", "x" * 63, "x" * 64, "y" * 5000),
    *(
        "\0",
        "a\0b",
        "a\r\nb",
        "\x1b[31m",
        "\u202eabc",
        "\ufeff",
        "ＡＣＭＥ",
        "аcme",
        "é" * 100,
        "\U0001f600" * 30,
        "\ud7ff",
    ),
    *("../../etc/passwd", "a/b", "a:b", "a,b", "{a}", "*", "%00", "%s%n", "' OR 1=1 --", "$1", "*1\r\n$4\r\nPING\r\n"),
    *("redis.call('flushall')", "-1", "1e999", "0x10", "2026-02-30", "18446744073709551616", "NaN", "null", "true"),
    *(
        "{{ question }}",
        "{{ a.b.c[0] }}",
        "{% for i in range(9) %}{{ i }}{% endfor %}",
        "{% if %}",
        "{{ '",
        "{{ x | f }}",
    ),
    *(
        '{"type": "object"}',
        '{"$ref": "#"}',
        "{",
        "[" * 500,
        '{"type": 7}',
        '{"pattern": "("}',
        "https://example.com/v1",
    ),
    *(
        "http://127.0.0.1:1/",
        "http://[::1",
        "file:///etc/passwd",
        "http://a\0b/",
        "//",
        "gpt-4o",
        "openai",
        "key_",
        "op_",
    ),
)
_PLAIN = ("a", "default", "production", "extractive", "How long is the warranty?", "0123456789abcdef" * 2)
_WIRE_TYPES = (0, 1, 2, 3, 4, 5, 6, 7)


class Requests:
    """Makes requests. Everything it keeps is bounded: 64 entries a name, a type or an RPC."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._room = 0
        self._tame = False
        self._texts: dict[str, deque[Any]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._messages: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._corpus: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def know(self, name: str, *values: Any) -> None:
        """Values that a field of this name may well have."""
        self._texts[name].extend(values)

    def learn(self, message: Any, depth: int = 4) -> None:
        """What an answer says may be asked for later."""
        for field, value in message.ListFields():
            if field.message_type is None:
                if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
                    few = list(value)[:3] if field.is_repeated else [value]
                    self._texts[field.name].extend(one for one in few if len(one) <= _LONGEST)
            elif depth and not field.message_type.GetOptions().map_entry:
                for one in list(value)[:3] if field.is_repeated else [value]:
                    self._messages[field.message_type.full_name].append(one.SerializeToString())
                    self.learn(one, depth - 1)

    def keep(self, path: str, data: bytes) -> None:
        """A request that was answered in a way that none was before."""
        self._corpus[path].append(data)

    def make(self, path: str, of: Descriptor) -> bytes:
        """One request."""
        chance = self._dice.random()
        kept = self._corpus[path]
        self._room = _MOST_MESSAGES
        self._tame = self._dice.random() < 0.4
        data = self._dice.choice(kept) if chance < 0.25 and kept else self._message(of, 5).SerializeToString()
        if not self._tame and chance < 0.5:
            data = self._broken(data)
        return data

    def _message(self, of: Descriptor, depth: int) -> Any:
        message = GetMessageClass(of)()
        self._room -= 1
        if (kept := self._messages[of.full_name]) and self._dice.random() < 0.4:
            message.ParseFromString(self._dice.choice(kept))
        fullness = 0.9 if self._tame else self._dice.choice((0.2, 0.6, 0.9))
        for field in of.fields:
            if self._dice.random() < fullness and depth and self._room > 0:
                self._fill(message, field, depth - 1)
        return message

    def _fill(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            target = getattr(message, field.name)
            for _ in range(self._many()):
                if value.message_type is not None:
                    target[self._scalar(key)].CopyFrom(self._message(value.message_type, depth))
                else:
                    target[self._scalar(key)] = self._scalar(value)
        elif field.is_repeated:
            target = getattr(message, field.name)
            for _ in range(self._many()):
                if field.message_type is not None:
                    target.add().CopyFrom(self._message(field.message_type, depth))
                else:
                    target.append(self._scalar(field))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self._message(field.message_type, depth))
        else:
            setattr(message, field.name, self._scalar(field))

    def _many(self) -> int:
        if self._tame or self._dice.random() < 0.7:
            return self._dice.randint(1, 3)
        return self._dice.choice((0, 1, 2, 20, 300))

    def _scalar(self, field: FieldDescriptor) -> Any:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._text(field)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._dice.random() < 0.5
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            known = [value.number for value in cast(EnumDescriptor, field.enum_type).values]
            odd = not self._tame and self._dice.random() < 0.1
            return self._dice.choice((-1, 99, 2**31 - 1) if odd else known)
        if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            odd = not self._tame and self._dice.random() < 0.5
            return self._dice.choice(_FLOATS) if odd else self._dice.uniform(0, 2)
        lowest, highest = _RANGES[kind]
        odd = not self._tame and self._dice.random() < 0.5
        number = self._dice.choice(_INTEGERS) if odd else self._dice.randint(0, 50)
        return min(max(number, lowest), highest)

    def _text(self, field: FieldDescriptor) -> Any:
        known = self._texts[field.name]
        chance = self._dice.random()
        if known and (self._tame or chance < 0.6):
            found = self._dice.choice(known)
        elif self._tame:
            found = self._dice.choice(_PLAIN)
        elif chance < 0.9:
            found = self._dice.choice(_TEXTS)
        else:
            found = "".join(self._dice.choices(string.printable, k=self._dice.randint(1, 40)))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return (
                found if isinstance(found, bytes) else found.encode() + self._dice.randbytes(self._dice.choice((0, 9)))
            )
        return found if isinstance(found, str) else found.hex()

    def _broken(self, data: bytes) -> bytes:
        """Bytes with one to three faults."""
        for _ in range(self._dice.randint(1, 3)):
            data = self._dice.choice(_FAULTS)(self._dice, data)
        return data


_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def varint(number: int) -> bytes:
    """A number as the wire has it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _at(dice: random.Random, data: bytes) -> int:
    return dice.randrange(len(data) + 1)


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: _at(dice, data)]


def _flip(dice: random.Random, data: bytes) -> bytes:
    if not data:
        return b"\0"
    place = dice.randrange(len(data))
    return data[:place] + bytes((data[place] ^ (1 << dice.randrange(8)),)) + data[place + 1 :]


def _insert(dice: random.Random, data: bytes) -> bytes:
    place = _at(dice, data)
    return data[:place] + dice.randbytes(dice.randint(1, 8)) + data[place:]


def _unknown_field(dice: random.Random, data: bytes) -> bytes:
    number = dice.choice((0, 15, 16, 999, 19000, 2**29 - 1, 2**29))
    return data + varint(number << 3 | 2) + varint(3) + b"abc"


def _wrong_wire_type(dice: random.Random, data: bytes) -> bytes:
    return data + varint(dice.randint(1, 12) << 3 | dice.choice(_WIRE_TYPES)) + dice.randbytes(dice.randint(0, 9))


def _huge_varint(dice: random.Random, data: bytes) -> bytes:
    return data + varint(dice.randint(1, 12) << 3) + b"\xff" * dice.choice((9, 10, 40)) + b"\x01"


def _huge_length(dice: random.Random, data: bytes) -> bytes:
    return data + varint(dice.randint(1, 12) << 3 | 2) + varint(dice.choice((2**31 - 1, 2**32, 2**63, 5)))


def _invalid_utf8(dice: random.Random, data: bytes) -> bytes:
    bad = dice.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"a\xe2\x82"))
    return data + varint(dice.randint(1, 12) << 3 | 2) + varint(len(bad)) + bad


def _deep(dice: random.Random, data: bytes) -> bytes:
    number = dice.randint(1, 12)
    if dice.random() < 0.5:
        return data + varint(number << 3 | 3) * dice.choice((50, 120, 5000))
    inner = b""
    for _ in range(dice.choice((50, 120, 1500))):
        inner = varint(number << 3 | 2) + varint(len(inner)) + inner
    return data + inner


def _twice(dice: random.Random, data: bytes) -> bytes:
    return data + data[_at(dice, data) :]


_FAULTS = (
    *(_cut, _flip, _insert, _unknown_field, _wrong_wire_type, _huge_varint, _huge_length, _invalid_utf8, _deep, _twice),
)
