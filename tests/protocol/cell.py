"""Cell's protocol in Python, from docs/protocol.md: messages, frames, a client, a server, and celld's packets.

It needs nothing but the standard library. A genome is the dict that json.loads makes of genome.json.

Values are bool, int, float and str; bytes for bytes and [N]uint8; int nanoseconds for durations; Time; the bytes of its text
for json; None or a value for optionals; lists; dicts for maps and structs; for sums None, or a dict with "type".
"""

import collections
import hashlib
import json
import os
import queue
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import NamedTuple

VERSION = 1
MAX_FRAME = 16 << 20
LEAST_FRAME = 4 << 10
MAX_DEPTH = 64
MAX_PACKET = 4 << 10
WINDOW = 256 << 10  # credit that each direction of a call begins with
ITEM_COST = 16
MAX_CREDIT = 1 << 40
ALL_CALLS = (1 << 64) - 1

HELLO, HELLO_ACK, CALL, RESULT, ERROR, CANCEL, PING, PONG, GOAWAY, DATA, END, CREDIT = range(1, 13)
NAMES = ["", "HELLO", "HELLO_ACK", "CALL", "RESULT", "ERROR", "CANCEL", "PING", "PONG", "GOAWAY", "DATA", "END", "CREDIT"]
SIZES = {
    HELLO: (6, 8 << 10), HELLO_ACK: (6, 8 << 10), CALL: (48, MAX_FRAME), CANCEL: (0, 0), PING: (0, 64), PONG: (0, 64),
    GOAWAY: (8, 4 << 10), END: (0, 0), CREDIT: (4, 4),
}
IGNORABLE, NOT_EXECUTED = 1, 2  # flags of frames
ONE_WAY, ITEMS_IN, ITEMS_OUT = 1, 2, 4  # flags of calls

APPLICATION, REMOTE, INVALID, NO_METHOD, DENIED, OVERLOADED, CANCELED, DEADLINE = range(1, 9)


class Malformed(Exception):
    """Bytes that must be refused; field is the path to the field of a message."""

    def __init__(self, reason, field=""):
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason, self.field = reason, field


class CallError(Exception):
    """The error that a call ended with. Handlers raise it for the error types of their genome."""

    def __init__(self, code, name="", message="", value=None, field="", not_executed=False):
        super().__init__(": ".join(t for t in (name, field, message) if t) or f"code {code}")
        self.code, self.name, self.message, self.value, self.field = code, name, message, value, field
        self.not_executed = not_executed


class NotSent(Exception):
    """The call certainly did not run."""


class Refused(CallError):
    """What a server answers by itself. A CallError of a handler is passed on only when it is an error type of the genome."""


class Answered(Exception):
    """The call has its answer: no item is of use any more."""


class Lost(Exception):
    """The connection ended during the call: it may have run."""


class Incompatible(Exception):
    """The cell does not serve callers with this genome."""


# The wire format of protobuf.


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varint(data, at):
    n = 0
    for i in range(10):
        if at + i >= len(data):
            raise Malformed("the data is cut short")
        b = data[at + i]
        n |= (b & 0x7F) << 7 * i
        if b < 0x80:
            if n >> 64:
                raise Malformed("a number of more than 64 bits")
            return n, at + i + 1
    raise Malformed("a number of more than 64 bits")


def zigzag(n):
    return (n << 1) ^ (n >> 63)


def unzigzag(n):
    return (n >> 1) ^ -(n & 1)


def signed64(n):
    return n - (1 << 64) if n >> 63 else n


def field(id, wire, value):
    """One field: value is an int for wire type 0, otherwise bytes."""
    tag = varint(id << 3 | wire)
    if wire == 0:
        return tag + varint(value)
    return tag + (varint(len(value)) if wire == 2 else b"") + value


def split(data):
    """The fields of a message: (id, wire type, value) with an int for wire type 0 and bytes for the others."""
    fields, at = [], 0
    while at < len(data):
        tag, at = read_varint(data, at)
        id, wire = tag >> 3, tag & 7
        if not 0 < id < 1 << 29 or wire not in (0, 1, 2, 5):
            raise Malformed("the data is damaged")
        if wire == 0:
            value, at = read_varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, at = read_varint(data, at)
            if size > len(data) - at:
                raise Malformed("the data is cut short")
            value, at = data[at : at + size], at + size
        fields.append((id, wire, value))
    return fields


# Types and messages.


class Ref(NamedTuple):
    """A use of a type: kind is a scalar's name, "*", "[]", "[N]", "map" or "named"."""

    kind: str
    name: str = ""
    elem: "Ref" = None
    key: "Ref" = None
    len: int = 0


SIGNED = {"int": 64, "int8": 8, "int16": 16, "int32": 32, "int64": 64, "duration": 64}
UNSIGNED = {"uint": 64, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
FLOATS = {"float32": (5, "<f"), "float64": (1, "<d")}
SCALARS = {*SIGNED, *UNSIGNED, *FLOATS, "bool", "string", "bytes", "time", "json"}
PACKED = {*SIGNED, *UNSIGNED, *FLOATS, "bool"}


def parse_ref(text):
    if text.startswith("*"):
        return Ref("*", elem=parse_ref(text[1:]))
    if text.startswith("[]"):
        return Ref("[]", elem=parse_ref(text[2:]))
    if m := re.fullmatch(r"\[(\d+)\](.+)", text):
        return Ref("[N]", len=int(m[1]), elem=parse_ref(m[2]))
    if m := re.fullmatch(r"map\[([^\]]+)\](.+)", text):
        return Ref("map", key=parse_ref(m[1]), elem=parse_ref(m[2]))
    if text in SCALARS:
        return Ref(text)
    if text[:1].isupper() and text.isidentifier():
        return Ref("named", name=text)
    raise ValueError(f"{text!r} is not a type")


class Time(NamedTuple):
    seconds: int = -62135596800  # 0001-01-01T00:00:00Z
    nanos: int = 0


class Codec:
    """Writes and reads the messages of a genome."""

    def __init__(self, genome):
        if genome.get("format") != 1:
            raise ValueError(f"format {genome.get('format')} of the genome is not known")
        self.types = {t["name"]: t for t in genome.get("types") or []}
        self.errors = {e["name"] for e in genome.get("errors") or []}
        self.methods = {m["name"]: m for m in genome.get("methods") or []}
        self.refs = {}

    def ref(self, text):
        if text not in self.refs:
            self.refs[text] = parse_ref(text)
        return self.refs[text]

    def resolve(self, ref):
        """What a name stands for, and the fields of a struct or a sum."""
        if ref.kind != "named":
            return ref, None
        t = self.types[ref.name]
        if "base" in t:
            return self.ref(t["base"]), None
        if "sum" in t:
            return Ref("sum", name=ref.name), t["sum"].get("fields", [])
        return Ref("struct", name=ref.name), t["struct"].get("fields", [])

    def error_type(self, name):
        return self.types[name]["struct"]

    # Writing.

    def encode(self, message, value):
        """The bytes of a message of a genome, such as method["request"]."""
        return self._message(message.get("fields", []), value)

    def _message(self, fields, value):
        if unknown := set(value) - {f["name"] for f in fields}:
            raise ValueError(f"there is no field {sorted(unknown)[0]}")
        out = b""
        for f in fields:
            ref = self.ref(f["type"])
            out += self._field(f["id"], ref, value[f["name"]] if f["name"] in value else self.zero(ref))
        return out

    def _field(self, id, ref, value):
        base, fields = self.resolve(ref)
        match base.kind:
            case "*":
                return b"" if value is None else self._element(id, base.elem, value)
            case "[]":
                return self._list(id, base.elem, value)
            case "[N]":
                if len(value) != base.len:
                    raise ValueError(f"{len(value)} elements, the array has {base.len}")
                if base.elem.kind == "uint8":
                    return field(id, 2, bytes(value))
                return field(id, 2, self._list(1, base.elem, value))
            case "map":
                return b"".join(
                    field(id, 2, self._field(1, base.key, k) + self._element(2, base.elem, v)) for k, v in value.items()
                )
            case "struct":
                return field(id, 2, self._message(fields, value))
            case "sum":
                return field(id, 2, b"" if value is None else self._variant(fields, value))
        return field(id, wire_type(base.kind), scalar(base.kind, value))

    def _element(self, id, ref, value):
        if self.resolve(ref)[0].kind in ("*", "[]", "map"):
            return field(id, 2, self._field(1, ref, value))
        return self._field(id, ref, value)

    def _list(self, id, elem, value):
        base, _ = self.resolve(elem)
        if base.kind not in PACKED:
            return b"".join(self._element(id, elem, v) for v in value)
        data = b"".join(v if isinstance(v, bytes) else varint(v) for v in (scalar(base.kind, v) for v in value))
        return field(id, 2, data) if data else b""

    def _variant(self, variants, value):
        for f in variants:
            if f["name"] == value["type"]:
                _, fields = self.resolve(Ref("named", name=f["name"]))
                rest = {k: v for k, v in value.items() if k != "type"}
                return field(f["id"], 2, self._message(fields, rest))
        raise ValueError(f"{value['type']} is no variant")

    def zero(self, ref):
        base, fields = self.resolve(ref)
        match base.kind:
            case "*" | "sum":
                return None
            case "[]":
                return []
            case "map":
                return {}
            case "[N]" if base.elem.kind == "uint8":
                return bytes(base.len)
            case "[N]":
                return [self.zero(base.elem) for _ in range(base.len)]
            case "struct":
                return {f["name"]: self.zero(self.ref(f["type"])) for f in fields}
            case "bool":
                return False
            case "string":
                return ""
            case "bytes" | "json":
                return b""
            case "time":
                return Time()
            case "float32" | "float64":
                return 0.0
        return 0

    # Reading.

    def decode(self, message, data):
        return self._read(message.get("fields", []), data, 0, "")

    def _read(self, fields, data, depth, path):
        there = collections.defaultdict(list)
        for id, wire, value in self._enter(data, depth, path):
            there[id].append((wire, value))
        out = {}
        for f in fields:
            at = f"{path}.{f['name']}" if path else f["name"]
            ref = self.ref(f["type"])
            out[f["name"]] = self._value(ref, there[f["id"]], depth, at) if f["id"] in there else self.zero(ref)
        return out

    def _enter(self, data, depth, path):
        if depth > MAX_DEPTH:
            raise Malformed(f"it is nested more than {MAX_DEPTH} deep", path)
        try:
            return split(data)
        except Malformed as e:
            raise Malformed(e.reason, path) from None

    def _value(self, ref, parts, depth, path):
        """The value of a field that is there at least once."""
        base, fields = self.resolve(ref)
        match base.kind:
            case "*":
                return self._unwrap(base.elem, parts, depth, path)
            case "[]":
                return self._elements(base.elem, parts, depth, path)
            case "[N]":
                return [self._array(base, wire, value, depth, path) for wire, value in parts][-1]
            case "map":
                return dict(self._entry(base, wire, value, depth, path) for wire, value in parts)
            case "struct":
                return self._read(fields, join(parts, path), depth + 1, path)
            case "sum":
                return self._sum(fields, join(parts, path), depth + 1, path)
            case "time":
                return [self._time(join([part], path), depth + 1, path) for part in parts][-1]
        return [read_scalar(base.kind, wire, value, path) for wire, value in parts][-1]

    def _unwrap(self, ref, parts, depth, path):
        if self.resolve(ref)[0].kind not in ("*", "[]", "map"):
            return self._value(ref, parts, depth, path)
        inner = [(w, v) for id, w, v in self._enter(join(parts, path), depth + 1, path) if id == 1]
        return self._value(ref, inner, depth + 1, path) if inner else self.zero(ref)

    def _elements(self, elem, parts, depth, path):
        base, _ = self.resolve(elem)
        out = []
        for wire, value in parts:
            if base.kind not in PACKED or wire != 2:
                out.append(self._unwrap(elem, [(wire, value)], depth, path))
                continue
            own, at = wire_type(base.kind), 0
            while at < len(value):
                if own == 0:
                    try:
                        one, at = read_varint(value, at)
                    except Malformed as e:
                        raise Malformed(e.reason, path) from None
                else:
                    size = 4 if own == 5 else 8
                    one, at = value[at : at + size], at + size
                    if len(one) < size:
                        raise Malformed("the data is cut short", path)
                out.append(read_scalar(base.kind, own, one, path))
        return out

    def _array(self, base, wire, value, depth, path):
        data = join([(wire, value)], path)
        if base.elem.kind == "uint8":
            out = data
        else:
            inner = [(w, v) for id, w, v in self._enter(data, depth + 1, path) if id == 1]
            out = self._elements(base.elem, inner, depth + 1, path)
        if len(out) != base.len:
            raise Malformed(f"it has {len(out)} elements, the array has {base.len}", path)
        return out

    def _entry(self, base, wire, value, depth, path):
        parts = {1: [], 2: []}
        for id, w, v in self._enter(join([(wire, value)], path), depth + 1, path):
            parts.get(id, []).append((w, v))
        k = self._value(base.key, parts[1], depth + 1, path) if parts[1] else self.zero(base.key)
        v = self._unwrap(base.elem, parts[2], depth + 1, path) if parts[2] else self.zero(base.elem)
        return k, v

    def _sum(self, variants, data, depth, path):
        out = None
        for id, wire, value in self._enter(data, depth, path):
            for f in variants:
                if f["id"] == id:
                    _, fields = self.resolve(Ref("named", name=f["name"]))
                    out = {"type": f["name"], **self._read(fields, join([(wire, value)], path), depth + 1, path)}
        return out

    def _time(self, data, depth, path):
        parts = {1: 0, 2: 0}
        for id, wire, value in self._enter(data, depth, path):
            if id in parts:
                if wire != 0:
                    raise Malformed("it has another type", path)
                if id == 2 and value > 999_999_999:
                    raise Malformed("the nanoseconds are out of range", path)
                parts[id] = value
        return Time(signed64(parts[1]), parts[2])


def join(parts, path):
    if any(wire != 2 for wire, _ in parts):
        raise Malformed("it has another type", path)
    return b"".join(value for _, value in parts)


def wire_type(kind):
    if kind in FLOATS:
        return FLOATS[kind][0]
    return 0 if kind in PACKED else 2


def scalar(kind, value):
    """The value as field and packed lists take it: an int for wire type 0, otherwise bytes."""
    if kind == "bool":
        if value is not True and value is not False:
            raise ValueError(f"{value!r} is neither true nor false")
        return int(value)
    if kind in SIGNED:
        if not -(1 << SIGNED[kind] - 1) <= value < 1 << SIGNED[kind] - 1:
            raise ValueError(f"{value} does not fit {kind}")
        return zigzag(value)
    if kind in UNSIGNED:
        if not 0 <= value < 1 << UNSIGNED[kind]:
            raise ValueError(f"{value} does not fit {kind}")
        return value
    if kind in FLOATS:
        return struct.pack(FLOATS[kind][1], value)
    if kind == "string":
        return value.encode()
    if kind == "time":
        return field(1, 0, value.seconds & ALL_CALLS) + field(2, 0, value.nanos)
    return bytes(value)  # bytes and json


def read_scalar(kind, wire, value, path):
    if wire != wire_type(kind):
        raise Malformed("it has another type", path)
    if kind == "bool":
        return value != 0
    if kind in SIGNED:
        value = unzigzag(value)
        if not -(1 << SIGNED[kind] - 1) <= value < 1 << SIGNED[kind] - 1:
            raise Malformed(f"{value} does not fit {kind}", path)
    elif kind in UNSIGNED:
        if value >> UNSIGNED[kind]:
            raise Malformed(f"{value} does not fit {kind}", path)
    elif kind in FLOATS:
        return struct.unpack(FLOATS[kind][1], value)[0]
    elif kind == "string":
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Malformed("it is not UTF-8 text", path) from None
    elif kind == "json" and value:
        try:
            check_json(value)
        except (ValueError, RecursionError):
            raise Malformed("it is not JSON", path) from None
    return value


def check_json(text):
    def never(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(text.decode("utf-8", "replace"), parse_constant=never, parse_int=str)


def wire_hash(genome):
    def message(what, m):
        fields = sorted(m.get("fields", []), key=lambda f: f["id"])
        return " " + what + "".join(f" {f['id']} {f['type']}" for f in fields)

    text = ""
    for m in sorted(genome.get("methods") or [], key=lambda m: m["id"]):
        text += f"method {m['id']} {m['name']}" + message("request", m["request"]) + message("result", m["result"])
        text += "".join(" " + k for k in ("oneway", "topic") if m.get(k))
        text += "".join(message(k, m[k]) for k in ("in", "out") if k in m) + "\n"
    for t in sorted(genome.get("types") or [], key=lambda t: t["name"].encode()):
        text += f"type {t['name']}"
        text += f" {t['base']}" if "base" in t else "".join(message(k, t[k]) for k in ("struct", "sum") if k in t)
        text += "\n"
    for name in sorted((e["name"] for e in genome.get("errors") or []), key=str.encode):
        text += f"error {name}\n"
    return hashlib.sha256(text.encode()).hexdigest()


# Frames.


class Frame(NamedTuple):
    type: int
    id: int = 0
    payload: bytes = b""
    flags: int = 0

    def __bytes__(self):
        return struct.pack("<IBBHQ", len(self.payload), self.type, self.flags, 0, self.id) + self.payload

    def __str__(self):
        return NAMES[self.type] if 0 < self.type < len(NAMES) else f"type {self.type}"


def read_frame(read):
    """The next frame of a known type; read(n) gives n bytes or raises EOFError."""
    while True:
        size, type, flags, reserved, id = struct.unpack("<IBBHQ", read(16))
        if reserved:
            raise Malformed("reserved bytes of the header are set")
        known = HELLO <= type <= CREDIT
        if not known and not flags & IGNORABLE:
            raise Malformed(f"unknown type {type}")
        least, most = SIZES.get(type, (0, MAX_FRAME))
        if not least <= size <= most:
            raise Malformed(f"{Frame(type)} of {size} bytes, allowed are {least} to {most}")
        payload = read(size)
        if known:
            return Frame(type, id, payload, flags)


class Extension(NamedTuple):
    method: int
    flags: int = 0
    timeout: int = 0
    trace: bytes = bytes(16)
    schema: int = 0
    token: int = 0
    attempt: int = 0

    def __bytes__(self):
        return struct.pack("<IIQ16sQII", *self)

    @classmethod
    def parse(cls, data):
        return cls(*struct.unpack("<IIQ16sQII", data[:48]))


class Hello(NamedTuple):
    version: int = VERSION
    max_frame: int = MAX_FRAME
    max_calls: int = 0
    name: str = ""
    cell_version: str = ""
    hash: str = ""
    accepts: tuple = ()

    def __bytes__(self):
        out = b"CELL" + struct.pack("<H", self.version) + field(1, 0, self.max_frame) + field(2, 0, self.max_calls)
        for id, text in ((3, self.name), (4, self.cell_version), (5, self.hash), *((6, h) for h in self.accepts)):
            out += field(id, 2, text.encode())
        return out

    @classmethod
    def parse(cls, data):
        version = int.from_bytes(data[4:6], "little")
        if data[:4] != b"CELL" or version == 0:
            raise Malformed("the other side does not speak the protocol of cells")
        got, accepts = {1: 0, 2: 0, 3: "", 4: "", 5: ""}, []
        for id, wire, value in split(data[6:]):
            if id in (1, 2) and wire == 0:
                got[id] = value
            elif id in (3, 4, 5) and wire == 2:
                if len(value) > 255:
                    raise Malformed(f"field {id} of the greeting has {len(value)} bytes")
                got[id] = value.decode("utf-8", "replace")
            elif id == 6 and wire == 2:
                if len(value) > 64 or len(accepts) == 64:
                    raise Malformed("field 6 of the greeting is too long or there too often")
                accepts.append(value.decode("utf-8", "replace"))
        if 0 < got[1] < LEAST_FRAME:
            raise Malformed(f"frames of {got[1]} bytes, at least {LEAST_FRAME} are needed")
        return cls(version, *got.values(), tuple(accepts))


class Fault(NamedTuple):
    """What follows the header of an ERROR."""

    code: int = 0
    name: str = ""
    message: str = ""
    payload: bytes = b""

    def __bytes__(self):
        out = field(1, 0, self.code)
        if self.name:
            out += field(2, 2, self.name.encode())
        out += field(3, 2, self.message.encode())
        return out + (field(4, 2, self.payload) if self.payload else b"")

    @classmethod
    def parse(cls, data):
        got = {1: 0, 2: b"", 3: b"", 4: b""}
        for id, wire, value in split(data):
            if wire == (0 if id == 1 else 2) and id in got:
                got[id] = value
        return cls(got[1], got[2].decode("utf-8", "replace"), got[3].decode("utf-8", "replace"), got[4])


class GoAway(NamedTuple):
    last: int
    code: int = 0
    message: str = ""

    def __bytes__(self):
        return struct.pack("<Q", self.last) + field(1, 0, self.code) + field(2, 2, self.message.encode())

    @classmethod
    def parse(cls, data):
        fault = Fault.parse(data[8:])  # the message is field 2 here
        return cls(int.from_bytes(data[:8], "little"), fault.code, fault.name)


# Connections.


class Connection:
    """Reads frames in one thread and writes them in another, so that reading never waits for writing."""

    SOFT, HARD = 1 << 20, 2 << 20  # queued bytes at which senders wait, and at which the connection ends

    def __init__(self, sock):
        self.sock = sock
        self.reader = sock.makefile("rb")
        self.lock = threading.Condition()
        self.queue, self.queued, self.ended, self.writing = collections.deque(), 0, None, False
        self.peer = Hello()  # what is not told is the default
        threading.Thread(target=self._write, daemon=True).start()

    def send(self, frame):
        """Queues a frame for who must not wait. A peer that lets too much pile up loses the connection."""
        with self.lock:
            if self.queued > self.SOFT + self.HARD:
                self._end(ConnectionError("the other side does not read"))
            self._queue(frame)

    def send_later(self, frame):
        """Queues a frame when there is space."""
        with self.lock:
            self._space()
            self._queue(frame)

    def _space(self):
        while self.queued >= self.SOFT and not self.ended:
            self.lock.wait()

    def _queue(self, frame):
        if self.ended:
            raise ConnectionError(str(self.ended))
        data = bytes(frame)
        self.queue.append(data)
        self.queued += len(data)
        self.lock.notify_all()

    def _write(self):
        while True:
            with self.lock:
                while not self.queue and not self.ended:
                    self.lock.wait()
                if not self.queue:
                    break
                data, self.writing = b"".join(self.queue), True
                self.queue.clear()
            try:
                self.sock.sendall(data)
            except OSError as e:
                self.end(e)
            with self.lock:
                self.queued -= len(data)
                self.writing = False
                self.lock.notify_all()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # after the last frame; the reading thread returns from it
        except OSError:
            pass
        self.sock.close()

    def read(self, n):
        try:
            data = self.reader.read(n)
        except (OSError, ValueError):
            data = b""
        if len(data) < n:
            self.reader.close()
            raise EOFError("the other side closed the connection")
        return data

    def end(self, why):
        with self.lock:
            self._end(why)

    def _end(self, why):
        if not self.ended:
            self.ended = why
        self.lock.notify_all()

    def flush(self):
        with self.lock:
            while (self.queue or self.writing) and not self.ended:
                self.lock.wait()


class Stream:
    """Items and credit of one call, on either side."""

    def __init__(self, conn, id, sends, receives):
        self.conn, self.id, self.sends, self.receives = conn, id, sends, receives
        self.changed = conn.lock
        self.items, self.credit, self.room, self.consumed = collections.deque(), WINDOW, WINDOW, 0
        self.ended = not receives  # no item comes any more
        self.over = None  # why no item is sent or awaited any more

    def send(self, item, deadline=None):
        with self.changed:
            if not self.sends:
                raise ValueError("the call has no items in this direction")
            while self.credit <= 0 and not self.over:
                self._wait(deadline)
            if self.over:
                raise self.over
            self.credit -= len(item) + ITEM_COST
        self.conn.send_later(Frame(DATA, self.id, item))

    def receive(self, deadline=None):
        """The next item, or None when there are no more."""
        with self.changed:
            while not self.items and not self.ended and not self.over:
                self._wait(deadline)
            if not self.items:
                if self.over and not isinstance(self.over, Answered):
                    raise self.over
                return None
            item = self.items.popleft()
            self.consumed += len(item) + ITEM_COST
            grant = 0
            if self.consumed >= WINDOW // 2 and not self.ended and not self.over:
                grant, self.consumed = self.consumed, 0
                self.room += grant
        if grant:
            self.conn.send(Frame(CREDIT, self.id, struct.pack("<I", grant)))
        return item

    def _wait(self, deadline):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self.changed.wait(left)

    def stop(self, why, drop=True):
        with self.changed:
            if not self.over:
                self.over = why
                if drop:
                    self.items.clear()
                self.changed.notify_all()

    # Frames that came, in the reading thread. False is for DATA without credit.

    def data(self, frame):
        with self.changed:
            if not self.receives:
                raise Malformed(f"{frame} for call {frame.id}, which has no items in that direction")
            if self.over:
                return True
            if self.ended:
                raise Malformed(f"{frame} for call {frame.id} after END")
            if self.room <= 0:
                return False
            self.room -= len(frame.payload) + ITEM_COST
            self.items.append(frame.payload)
            self.changed.notify_all()
            return True

    def granted(self, frame):
        with self.changed:
            if not self.sends:
                raise Malformed(f"{frame} for call {frame.id}, which has no items in that direction")
            self.credit = min(self.credit + int.from_bytes(frame.payload, "little"), MAX_CREDIT)
            self.changed.notify_all()

    def end(self, frame):
        with self.changed:
            if not self.receives or self.ended and not self.over:
                raise Malformed(f"{frame} for call {frame.id}, which has no more items in that direction")
            self.ended = True
            self.changed.notify_all()


# The client.


class Client(Connection):
    """Calls a cell on a connected socket. genome None takes that of the cell, from method 0."""

    def __init__(self, sock, genome=None, name="", check=True, timeout=10):
        super().__init__(sock)
        self.last, self.calls, self.away, self.pongs = 0, {}, None, queue.SimpleQueue()
        self.greeted = threading.Event()
        self.hash = wire_hash(genome) if genome else ""
        self.send(Frame(HELLO, 0, bytes(Hello(name=name, hash=self.hash))))
        threading.Thread(target=self._serve, daemon=True).start()
        if not self.greeted.wait(timeout):
            self.close()
            raise NotSent("no greeting came")
        if self.ended or self.away:
            raise NotSent(str(self.away or self.ended))
        if genome is None:
            genome = self.genome(timeout)
        elif check and self.hash != self.peer.hash and self.hash not in self.peer.accepts:
            self.close()
            raise Incompatible(f"the cell serves {self.peer.hash[:8]}, not {self.hash[:8]}")
        self.codec = Codec(genome)

    def close(self):
        self.end(ConnectionError("closed"))

    def genome(self, timeout=10):
        return json.loads(self._begin(0, b"", 0, time.monotonic() + timeout, {}).result())

    def ping(self, timeout=10):
        self.send(Frame(PING, 0, b"ping"))
        self.pongs.get(timeout=timeout)

    def call(self, method, timeout=None, options=None, **parameters):
        """Calls a method without streams and returns its results by name; an event's are None."""
        with self.open(method, timeout, options, **parameters) as call:
            return call.results() if not call.one_way else None

    def open(self, method, timeout=None, options=None, **parameters):
        """Begins a call. options are trace, attempt and priority of the extension."""
        m = self.codec.methods[method]
        flags = (ONE_WAY if m.get("oneway") else 0) | (ITEMS_IN if "in" in m else 0) | (ITEMS_OUT if "out" in m else 0)
        request = self.codec.encode(m["request"], parameters)
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._begin(m["id"], request, flags, deadline, options or {}, m)

    def _begin(self, id, request, flags, deadline, options, method=None):
        if len(request) > self.most() - 48:
            raise CallError(INVALID, message="the request is too long", not_executed=True)
        left = 0 if deadline is None else max(int((deadline - time.monotonic()) * 1e9), 1)
        extension = Extension(
            id, flags | options.get("priority", 0) << 8, left, options.get("trace", bytes(16)), int(self.hash[:16] or "0", 16),
            attempt=options.get("attempt", 0),
        )
        with self.lock:
            self._space()
            if self.ended or self.away:
                raise NotSent(str(self.away or self.ended))
            self.last += 1
            call = ClientCall(self, self.last, flags, deadline, method)
            if not call.one_way:
                self.calls[self.last] = call
            self._queue(Frame(CALL, self.last, bytes(extension) + request))
            return call

    def most(self):
        return min(self.peer.max_frame or MAX_FRAME, MAX_FRAME)

    def _serve(self):
        why = None
        try:
            while True:
                self._frame(read_frame(self.read))
        except (Malformed, EOFError, ConnectionError) as e:
            why = e
        self.end(why)
        with self.lock:
            for call in self.calls.values():
                call.finish(NotSent(str(why)) if self.away and call.id > self.away.last else Lost(str(self.away or self.ended)))
            self.calls = {}
        self.greeted.set()

    def _frame(self, f):
        if f.type == HELLO_ACK:
            if self.greeted.is_set():
                raise Malformed("a second HELLO_ACK")
            peer = Hello.parse(f.payload)
            if peer.version > VERSION:
                raise Malformed(f"the server chose version {peer.version}")
            self.peer = peer
            self.greeted.set()
        elif f.type in (RESULT, ERROR, DATA, CREDIT):
            self._of_call(f)
        elif f.type == PING:
            self.send(Frame(PONG, 0, f.payload))
        elif f.type == PONG:
            self.pongs.put(f.payload)
        elif f.type == GOAWAY:
            with self.lock:
                self.away = GoAway.parse(f.payload)
                for call in [c for c in self.calls.values() if c.id > self.away.last]:
                    self.calls.pop(call.id).finish(NotSent(self.away.message))
            self._end_unused()
        else:
            raise Malformed(f"{f} from a server")

    def _of_call(self, f):
        with self.lock:
            if not 0 < f.id <= self.last:
                raise Malformed(f"{f} for call {f.id}, which was not made")
            call = self.calls.get(f.id)  # None: given up
            if f.type == RESULT or f.type == ERROR:
                error = None if f.type == RESULT else Fault.parse(f.payload)
                self.calls.pop(f.id, None)
                if call:
                    call.finish(error and call.error(error, bool(f.flags & NOT_EXECUTED)), f.payload)
                self._end_unused()
            elif call and not call.flags & (ITEMS_IN | ITEMS_OUT):
                raise Malformed(f"{f} for call {f.id}, which has no items")
            elif call and f.type == CREDIT:
                call.stream.granted(f)
            elif call and not call.stream.data(f):
                call.cancel(Malformed("the other side sent more items than it had credit for"))

    def _end_unused(self):
        with self.lock:
            if self.away and not self.calls:
                self._end(ConnectionError(self.away.message))


class ClientCall:
    """A call that was made: items are sent with send and end_items, and come by iterating."""

    def __init__(self, client, id, flags, deadline, method):
        self.client, self.id, self.flags, self.deadline, self.method = client, id, flags, deadline, method
        self.one_way = bool(flags & ONE_WAY)
        self.stream = Stream(client, id, bool(flags & ITEMS_IN), bool(flags & ITEMS_OUT))
        self.done, self.failed, self.payload, self.sent_end = self.one_way, None, b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.done:
            self.cancel(Lost("given up"))

    def finish(self, failed, payload=b""):
        """The call has ended; items that came before are still there."""
        with self.stream.changed:
            self.done, self.failed, self.payload = True, failed, payload
        self.stream.stop(failed or Answered(), drop=False)

    def cancel(self, why):
        """Gives the call up, and tells the server."""
        with self.client.lock:
            if not self.client.calls.pop(self.id, None):
                return
            self.finish(why)
            self.stream.items.clear()
            if not self.client.ended:
                self.client.send(Frame(CANCEL, self.id))
            self.client._end_unused()

    def _until(self, f, *args):
        try:
            return f(*args, self.deadline)
        except TimeoutError:
            self.cancel(CallError(DEADLINE, message="deadline exceeded"))
            raise self.failed from None
        except ConnectionError as e:
            raise Lost(str(e)) from None

    def send(self, item):
        """Sends an item; it waits for credit. False says that the call has been answered."""
        data = self.client.codec.encode(self.method["in"], {"item": item})
        if len(data) > self.client.most():
            raise ValueError(f"the item has {len(data)} bytes, allowed are {self.client.most()}")
        try:
            self._until(self.stream.send, data)
        except (Answered, CallError):
            return False  # the answer tells
        return True

    def end_items(self):
        with self.client.lock:
            if not self.sent_end and not self.done:
                self.sent_end = True
                self.client.send(Frame(END, self.id))

    def __iter__(self):
        """The items; those of a topic that was too slow are preceded by Missed."""
        while (data := self._until(self.stream.receive)) is not None:
            missed = [v for id, wire, v in split(data) if id == 2 and wire == 0]
            if self.method.get("topic") and missed:
                yield Missed(missed[-1])
            yield self.client.codec.decode(self.method["out"], data)["item"]

    def result(self):
        """The bytes of the result. Items that were not taken are dropped."""
        self.end_items_if_any()
        while self._until(self.stream.receive) is not None:
            pass
        with self.stream.changed:
            while not self.done:
                try:
                    self.stream._wait(self.deadline)
                except TimeoutError:
                    self.cancel(CallError(DEADLINE, message="deadline exceeded"))
            if self.failed:
                raise self.failed
            return self.payload

    def end_items_if_any(self):
        if self.flags & ITEMS_IN:
            self.end_items()

    def results(self):
        return self.client.codec.decode(self.method["result"], self.result())

    def error(self, e, not_executed):
        codec = self.client.codec if self.method else None
        if e.code == APPLICATION and codec and e.name in codec.errors:
            try:
                return CallError(e.code, e.name, e.message, codec.decode(codec.error_type(e.name), e.payload))
            except Malformed:
                pass
        if e.code == INVALID:
            try:
                at = {id: v.decode("utf-8", "replace") for id, wire, v in split(e.payload) if wire == 2}
                return CallError(e.code, message=at.get(2) or e.message, field=at.get(1, ""), not_executed=not_executed)
            except Malformed:
                pass
        if e.code == APPLICATION:
            return CallError(REMOTE, message=f"error {e.name}, which is not known")
        return CallError(e.code, message=e.message, not_executed=not_executed)


class Missed(NamedTuple):
    """So many items of a topic were left out."""

    count: int


# The server.


class Server:
    """Serves a genome. handlers are functions by the names of the methods: they get the Call and the parameters by name, and
    return None, or the results by name; those of methods with items out are generators. call.items() are the items in."""

    MAX_CALLS = 1024  # for one connection

    def __init__(self, genome, handlers, log=sys.stderr):
        self.codec, self.log, self.handlers = Codec(genome), log, handlers
        self.text = json.dumps(genome, ensure_ascii=False).encode()
        self.methods = {m["id"]: m for m in genome["methods"]}
        self.hello = Hello(
            max_calls=self.MAX_CALLS, name=genome["cell"], cell_version=genome["version"], hash=wire_hash(genome),
            accepts=tuple(genome.get("accepts") or ()),
        )
        self.lock, self.conns = threading.Lock(), set()
        self.woken, self.wake = socket.socketpair()
        self.stopping = False

    def serve(self, listener):
        """Accepts until the server is drained. Who waits in the backlog then is left to systemd."""
        while not self.stopping:
            ready, _, _ = select.select([listener, self.woken], [], [])
            if listener in ready and not self.stopping:
                sock, _ = listener.accept()
                with self.lock:
                    self.start(sock)

    def start(self, sock):
        conn = ServerConnection(self, sock)
        self.conns.add(conn)
        threading.Thread(target=conn.serve, daemon=True).start()
        return conn

    def drain(self, within=9):
        """Stops: running calls have so many seconds to end."""
        deadline = time.monotonic() + within
        with self.lock:
            self.stopping = True
            conns = list(self.conns)
        self.wake.close()
        for conn in conns:
            conn.go_away(GoAway(0, 0, "the cell is stopping"))
        for conn in conns:
            conn.drain(deadline)


class ServerConnection(Connection):
    def __init__(self, server, sock):
        super().__init__(sock)
        self.server, self.calls, self.seen, self.taken, self.away = server, {}, 0, 0, False

    def serve(self):
        try:
            first = read_frame(self.read)
            if first.type != HELLO:
                raise Malformed(f"{first} before HELLO")
            self.peer = Hello.parse(first.payload)
            self.most = min(self.peer.max_frame or MAX_FRAME, MAX_FRAME)
            ack = self.server.hello._replace(version=min(self.peer.version, VERSION))
            self.send(Frame(HELLO_ACK, 0, bytes(ack)))
            while True:
                self.frame(read_frame(self.read))
        except Malformed as e:
            self.go_away(GoAway(0, INVALID, str(e)))
            self.flush()
        except (EOFError, ConnectionError):
            pass
        self.end(ConnectionError("closed"))
        with self.lock:
            for call in self.calls.values():
                call.stop(CANCELED)
        with self.server.lock:
            self.server.conns.discard(self)

    def frame(self, f):
        if f.type == CALL:
            self.call(f)
        elif f.type == CANCEL:
            with self.lock:
                if call := self.calls.get(f.id):
                    call.stop(CANCELED)
        elif f.type in (DATA, END, CREDIT):
            self.flow(f)
        elif f.type == PING:
            self.send(Frame(PONG, 0, f.payload))
        elif f.type == PONG:
            pass
        else:
            raise Malformed(f"{f} from a client")

    def call(self, f):
        e = Extension.parse(f.payload)
        if not self.seen < f.id < ALL_CALLS:
            raise Malformed(f"CALL with id {f.id} after {self.seen}")
        self.seen = f.id
        if e.flags & ONE_WAY and e.flags & (ITEMS_IN | ITEMS_OUT):
            raise Malformed(f"CALL {f.id} is one-way and has items")
        with self.lock:
            refused = "the cell is stopping" if self.away else "too many calls" if len(self.calls) >= Server.MAX_CALLS else ""
            if not self.away:
                self.taken = f.id
            if refused:
                if not e.flags & ONE_WAY:
                    self.send(Frame(ERROR, f.id, bytes(Fault(OVERLOADED, "", refused)), NOT_EXECUTED))
                return
            call = self.calls[f.id] = Call(self, f.id, e)
        threading.Thread(target=self.run, args=(call, f.payload[48:]), daemon=True).start()

    def flow(self, f):
        with self.lock:
            if not 0 < f.id <= self.seen:
                raise Malformed(f"{f} for call {f.id}, which was not made")
            call = self.calls.get(f.id)
            if not call:
                return  # it has ended
            if not call.streams:
                raise Malformed(f"{f} for call {f.id}, which has no items")
            if f.type == CREDIT:
                call.stream.granted(f)
            elif f.type == END:
                call.stream.end(f)
            elif not call.stream.data(f):
                call.overrun = True
                call.stop(INVALID)

    def run(self, call, request):
        """Answers a call, in a thread of its own."""
        answer = self.outcome(call, request)
        if call.overrun:
            answer = Frame(ERROR, call.id, bytes(Fault(INVALID, "", "more items than there was credit for")))
        if len(answer.payload) > self.most:
            answer = Frame(ERROR, call.id, bytes(Fault(REMOTE, "", "the answer is too long")))
        call.stream.stop(Answered())
        try:
            with self.lock:  # a frame for the call that comes from now on is ignored
                self.calls.pop(call.id, None)
            if not call.one_way:
                self.send_later(answer)
        except ConnectionError:
            pass
        with self.lock:
            call.answered = True
            self.lock.notify_all()

    def outcome(self, call, request):
        codec = self.server.codec
        try:
            try:
                return Frame(RESULT, call.id, call.answer(request))
            except Refused as e:
                payload = field(1, 2, e.field.encode()) + field(2, 2, e.message.encode()) if e.code == INVALID else b""
                return Frame(ERROR, call.id, bytes(Fault(e.code, "", e.message, payload)))
            except CallError as e:
                if e.code != APPLICATION or e.name not in codec.errors:
                    raise
                payload = codec.encode(codec.error_type(e.name), e.value or {})
                return Frame(ERROR, call.id, bytes(Fault(APPLICATION, e.name, e.message, payload)))
        except Exception:
            # Its text may be a secret: it stays here.
            print(f"{call.name} failed:\n{traceback.format_exc()}", file=self.server.log, flush=True)
            return Frame(ERROR, call.id, bytes(Fault(REMOTE, "", "internal error, see the log of " + self.server.hello.name)))

    def go_away(self, g):
        with self.lock:
            self.away = True
            if not self.ended:
                self.send(Frame(GOAWAY, 0, bytes(g._replace(last=self.taken))))

    def drain(self, deadline):
        with self.lock:
            running = list(self.calls.values())
            while not all(c.answered for c in running) and time.monotonic() < deadline and not self.ended:
                self.lock.wait(deadline - time.monotonic())
        self.flush()
        self.end(ConnectionError("the cell is stopping"))


class Call:
    """A call as its handler sees it."""

    def __init__(self, conn, id, extension):
        self.conn, self.id, self.extension = conn, id, extension
        self.method = conn.server.methods.get(extension.method)
        self.name = self.method["name"] if self.method else f"method {extension.method}"
        self.trace, self.attempt, self.priority = extension.trace, extension.attempt, extension.flags >> 8 & 0xFF
        self.one_way = bool(extension.flags & ONE_WAY)
        self.streams = bool(extension.flags & (ITEMS_IN | ITEMS_OUT))
        self.stream = Stream(conn, id, bool(extension.flags & ITEMS_OUT), bool(extension.flags & ITEMS_IN))
        self.deadline = time.monotonic() + extension.timeout / 1e9 if extension.timeout else None
        self.over, self.overrun, self.answered = None, False, False

    def stop(self, code):
        """Tells the handler that nobody waits for it any more."""
        with self.conn.lock:
            if not self.over:
                self.over = Refused(code, message="deadline exceeded" if code == DEADLINE else "canceled")
                self.stream.stop(self.over)
                self.conn.lock.notify_all()

    def check(self):
        """Raises when nobody waits for the call any more."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop(DEADLINE)
        if self.over:
            raise self.over

    def wait(self):
        """Waits for the end of the call, and raises."""
        with self.conn.lock:
            while True:
                self.check()
                self.conn.lock.wait(None if self.deadline is None else max(self.deadline - time.monotonic(), 0))

    def _until(self, f, *args):
        try:
            return f(*args, self.deadline)
        except TimeoutError:
            self.stop(DEADLINE)
            raise self.over from None

    def items(self):
        while (data := self._until(self.stream.receive)) is not None:
            try:
                yield self.conn.server.codec.decode(self.method["in"], data)["item"]
            except Malformed as e:
                raise Refused(INVALID, message=e.reason, field=e.field) from None

    def answer(self, request):
        """Runs the handler; returns the bytes of the result."""
        if self.extension.method == 0:
            return self.conn.server.text
        m, codec = self.method, self.conn.server.codec
        if not m or m["name"] not in self.conn.server.handlers:
            raise Refused(NO_METHOD, message=f"cell {self.conn.server.hello.name} has no method {self.extension.method}")
        if self.streams != ("in" in m or "out" in m):
            raise Refused(INVALID, message=f"{m['name']} was called as a stream and is none, or the other way round")
        try:
            parameters = codec.decode(m["request"], request)
        except Malformed as e:
            raise Refused(INVALID, message=e.reason, field=e.field) from None
        result = self.conn.server.handlers[m["name"]](self, **parameters)
        if "out" in m:
            try:
                for item in result:
                    data = codec.encode(m["out"], {"item": item})
                    if len(data) > self.conn.most:
                        raise ValueError("the item is too long")
                    self._until(self.stream.send, data)
            finally:
                result.close()  # the generator ends now, not when it is collected
            result = None
        return codec.encode(m["result"], result or {})


# systemd.


def listeners():
    """The sockets that systemd handed over."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    for name in ("LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        os.environ.pop(name, None)
    if pid != str(os.getpid()):
        return []
    sockets = [socket.socket(fileno=fd) for fd in range(3, 3 + int(count))]
    for s in sockets:
        s.set_inheritable(False)
    return sockets


class Notifier:
    """Tells systemd about the process."""

    def __init__(self):
        self.path = os.environ.pop("NOTIFY_SOCKET", "")
        usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        self.every = int(usec) / 2e6 if usec and pid in ("", str(os.getpid())) else 0

    def tell(self, state):
        if self.path:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.connect("\0" + self.path[1:] if self.path[0] == "@" else self.path)
                s.send(state.encode())

    def watch(self):
        while self.every:
            time.sleep(self.every)
            self.tell("WATCHDOG=1")


def seconds(text):
    """A duration such as 1m30s."""
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    return sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text))


def main(genome, handlers):
    """Serves a cell as systemd starts it, until SIGTERM."""
    notifier, sockets = Notifier(), listeners()
    if not sockets:
        print("no socket was handed over", file=sys.stderr)
        return 2
    server = Server(genome, handlers)
    stop = threading.Event()
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: stop.set())
    for s in sockets:
        threading.Thread(target=server.serve, args=(s,), daemon=True).start()
    notifier.tell("READY=1")
    threading.Thread(target=notifier.watch, daemon=True).start()
    stop.wait()
    notifier.tell("STOPPING=1")
    server.drain(seconds(os.environ.get("CELL_STOP_WITHIN", "9s")))
    return 0


# celld.


class Request(NamedTuple):
    op: int
    target: str = ""
    hash: str = ""
    sequence: int = 0
    number: int = 0

    def __bytes__(self):
        return packet((1, self.op), (2, self.target), (3, self.hash), (4, self.sequence), (5, self.number))

    @classmethod
    def parse(cls, data):
        return cls(*read_packet(data, {1: 0, 2: "", 3: "", 4: 0, 5: 0}))


class Answer(NamedTuple):
    code: int = 0
    message: str = ""
    instance: str = ""
    sequence: int = 0
    event: str = ""
    time: int = 0

    def __bytes__(self):
        event = ((5, self.event), (6, self.time & ALL_CALLS)) if self.event else ()
        return packet((1, self.code), (2, self.message), (3, self.instance), (4, self.sequence), *event)

    @classmethod
    def parse(cls, data):
        a = cls(*read_packet(data, {1: 0, 2: "", 3: "", 4: 0, 5: "", 6: 0}))
        return a._replace(time=signed64(a.time))


def packet(*fields):
    return b"".join(field(id, 0, v) if isinstance(v, int) else field(id, 2, v.encode()) for id, v in fields)


def read_packet(data, got):
    if len(data) > MAX_PACKET:
        raise Malformed(f"{len(data)} bytes, allowed are {MAX_PACKET}")
    for id, wire, value in split(data):
        if id in got and wire == (0 if isinstance(got[id], int) else 2):
            got[id] = value if wire == 0 else value.decode("utf-8", "replace")
    return got.values()


class BrokerError(Exception):
    def __init__(self, code, message):
        super().__init__(message or f"code {code}")
        self.code = code


def connect(target, hash="", timeout=10):
    """Asks celld for a connection; returns the socket and the name of the instance."""
    deadline, pause = time.monotonic() + timeout, 0.01
    while True:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.settimeout(max(deadline - time.monotonic(), 0.001))
                s.connect(os.environ["CELL_BROKER"])
                s.send(bytes(Request(1, target, hash, 1)))
                data, descriptors, _, _ = socket.recv_fds(s, MAX_PACKET, 4)
            if data:
                break
            error = EOFError("celld hung up")
        except (FileNotFoundError, ConnectionError, BlockingIOError) as e:
            error = e
        if time.monotonic() + pause > deadline:
            raise error
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    sockets = [socket.socket(fileno=fd) for fd in descriptors]
    answer = Answer.parse(data)
    if answer.code or answer.sequence != 1 or len(sockets) != 1:
        for s in sockets:
            s.close()
        raise BrokerError(answer.code, answer.message)
    return sockets[0], answer.instance
