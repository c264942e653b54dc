"""Runs vectors.json through cell.py: python3 check.py vectors.json [SECONDS]. It says what differs, and ends with 1 when
something does. SECONDS bound what should happen at once."""

import base64
import datetime
import hashlib
import json
import math
import re
import socket
import struct
import sys
import threading

import cell

PATIENCE = 10


def unhex(text):
    """The bytes of hexadecimal text in which 00*300 stands for 300 bytes of zero."""
    out = b""
    for word in text.split():
        one, _, times = word.partition("*")
        out += bytes.fromhex(one) * int(times or 1)
    return out


class Codec(cell.Codec):
    """Takes values as vectors.json writes them."""

    def native(self, ref, v):
        base, fields = self.resolve(ref)
        match base.kind:
            case "*":
                return None if v is None else self.native(base.elem, v)
            case "[]":
                return [self.native(base.elem, e) for e in v]
            case "[N]" if base.elem.kind == "uint8":
                return base64.b64decode(v, validate=True)
            case "[N]":
                return [self.native(base.elem, e) for e in v]
            case "map":
                return {self.key(base.key, k): self.native(base.elem, e) for k, e in v.items()}
            case "struct":
                return self.struct(fields, v)
            case "sum" if v is None:
                return None
            case "sum":
                inner = next((self.resolve(self.ref(f["name"]))[1] for f in fields if f["name"] == v["type"]), [])
                rest = {k: e for k, e in v.items() if k != "type"}
                return {"type": v["type"], **self.struct(inner, rest)}
            case "bytes":
                return base64.b64decode(v, validate=True)
            case "duration":
                return duration(v)
            case "time":
                return instant(v)
            case "json":
                return JSON(json.dumps(v, separators=(",", ":"), ensure_ascii=False).encode())
            case "float32":
                return struct.unpack("<f", struct.pack("<f", float(v)))[0]
            case "float64":
                return float(v)
        return v

    def key(self, ref, text):
        kind = self.resolve(ref)[0].kind
        if kind == "bool":
            return {"true": True, "false": False}[text]
        return self.native(ref, text if kind in ("string", "duration") else int(text))

    def struct(self, fields, v):
        types = {f["name"]: f["type"] for f in fields}
        return {k: self.native(self.ref(types[k]), e) if k in types else e for k, e in v.items()}

    def message(self, v):
        """The message that a vector is about."""
        if "type" in v:
            return {"fields": [{"id": 1, "name": "v", "type": v["type"]}]}
        name, _, part = v["message"].partition(".")
        return self.methods[name][part] if part else self.types[name].get("struct")


def duration(text):
    units = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
    n = 0
    for whole, part, unit in re.findall(r"(\d+)(?:\.(\d+))?(ns|us|µs|ms|s|m|h)", text):
        n += int(whole) * units[unit] + (int(part) * units[unit] // 10 ** len(part) if part else 0)
    return -n if text.startswith("-") else n


def instant(text):
    m = re.fullmatch(r"(.{19})(?:\.(\d{1,9}))?Z", text)
    since = datetime.datetime.fromisoformat(m[1]) - datetime.datetime(1970, 1, 1)
    return cell.Time(since.days * 86400 + since.seconds, int((m[2] or "").ljust(9, "0")))


class JSON(bytes):
    """A text of JSON; what has the same value is the same."""


def same(a, b):
    """Whether a was read where b was wanted."""
    if isinstance(b, JSON):
        return json.loads(a or b"null") == json.loads(b)
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Check:
    def __init__(self, vectors):
        self.v, self.done, self.failed = vectors, 0, 0
        self.codecs = {name: Codec(g) for name, g in vectors["genomes"].items()}

    def that(self, ok, what, got=""):
        self.done += 1
        if not ok:
            self.failed += 1
            print(f"{what}: {got}")

    def run(self):
        for section in (
            self.hashes, self.messages, self.reads, self.refused, self.refused_values, self.frames, self.from_client, self.from_server,
            self.packets, self.packets_refused,
        ):
            section(self.v[section.__name__])

    def hashes(self, vectors):
        for v in vectors:
            genome = self.v["genomes"][v["genome"]]
            self.that((got := cell.wire_hash(genome)) == v["wire"], f"wire hash of {v['genome']}", got)
            text = json.dumps(genome, indent=2, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
            got = hashlib.sha256((text + "\n").encode()).hexdigest()
            self.that(got == v["full"], f"full hash of {v['genome']}", got)

    def messages(self, vectors):
        for v in vectors:
            codec = self.codecs[v["genome"]]
            m = codec.message(v)
            value = codec.struct(m.get("fields", []), v["json"])
            self.that((got := codec.encode(m, value).hex()) == v["hex"], f"encode {v}", got)
            self.read(codec, m, v)

    def read(self, codec, m, v):
        want = codec.struct(m.get("fields", []), v["json"])
        try:
            got = codec.decode(m, unhex(v["hex"]))
            self.that(same(got, want), f"decode {v}", got)
        except cell.Malformed as e:
            self.that(False, f"decode {v}", e)

    def reads(self, vectors):
        for v in vectors:
            codec = self.codecs[v["genome"]]
            self.read(codec, codec.message(v), v)

    def refused(self, vectors):
        for v in vectors:
            codec = self.codecs[v["genome"]]
            try:
                got = codec.decode(codec.message(v), unhex(v["hex"]))
                self.that(False, f"{v} was read", got)
            except cell.Malformed:
                self.that(True, "")

    def refused_values(self, vectors):
        for v in vectors:
            codec = self.codecs[v["genome"]]
            m = codec.message(v)
            try:
                got = codec.encode(m, codec.struct(m.get("fields", []), v["json"]))
                self.that(False, f"{v} was written", got.hex())
            except (ValueError, TypeError, OverflowError, KeyError):
                self.that(True, "")

    def frames(self, vectors):
        for v in vectors:
            data = unhex(v["hex"])
            at = 0

            def read(n):
                nonlocal at
                at += n
                return data[at - n : at]

            f = cell.read_frame(read)
            self.that(at == len(data) and bytes(f) == data, f"frame {v['name']}", f)
            call = f.type == cell.CALL  # has flags of its own
            got = {"type": str(f), "frame_flags" if call else "flags": f.flags, "id": f.id}
            match got["type"]:
                case "HELLO" | "HELLO_ACK":
                    body = cell.Hello.parse(f.payload)
                case "CALL":
                    body = cell.Extension.parse(f.payload)
                    got["request"] = f.payload[48:].hex()
                case "ERROR":
                    body = cell.Fault.parse(f.payload)
                case "GOAWAY":
                    body = cell.GoAway.parse(f.payload)
                case _:
                    body = f.payload
            again = bytes(body) + (f.payload[48:] if call else b"")
            self.that(again == f.payload, f"frame {v['name']} written again", again.hex())
            if isinstance(body, bytes):
                got["payload"] = body.hex()
            else:
                got |= {k: e.hex() if isinstance(e, bytes) else list(e) if isinstance(e, tuple) else e for k, e in body._asdict().items()}
            self.that(got == v["frame"], f"frame {v['name']}: want {v['frame']}", got)

    def from_client(self, vectors):
        """What a client sends, against this server: a fault ends the connection, everything else is answered."""
        hold = {"Wait": lambda call: call.wait(), "Hold": hold_stream}
        for v in vectors:
            server = cell.Server(self.v["genomes"][v["genome"]], hold)
            ours, theirs = socket.socketpair()
            ours.settimeout(PATIENCE)
            server.start(theirs)
            ours.sendall(unhex(v["hex"]))
            read = ours.makefile("rb").read
            answers, code = [], None
            try:
                while not answers or answers != v.get("answers"):
                    head = read(16)
                    if not head:
                        answers.append("closed")
                        break
                    size, type, _, _, id = struct.unpack("<IBBHQ", head)
                    body = read(size)
                    answers.append(f"{cell.NAMES[type]} {id}")
                    code = cell.GoAway.parse(body).code if type == cell.GOAWAY else code
            except TimeoutError:
                answers.append("open")
            if "answers" in v:
                self.that(answers == v["answers"], f"from a client: {v['name']}", answers)
            else:
                self.that(answers[-2:] == ["GOAWAY 0", "closed"] and code == cell.INVALID, f"from a client: {v['name']}", answers)
            ours.shutdown(socket.SHUT_RDWR)

    def from_server(self, vectors):
        """What a server sends, against this client: a fault ends the connection."""
        for v in vectors:
            ours, theirs = socket.socketpair()
            ours.settimeout(PATIENCE)
            ended = threading.Thread(target=self.client, args=(theirs, v), daemon=True)
            ended.start()
            read = ours.makefile("rb").read
            got = "open"
            try:
                ours.sendall(unhex(v["greeting"]))
                while len(head := read(16)) == 16:
                    size, type = struct.unpack("<IB", head[:5])
                    read(size)
                    if type == cell.CALL:
                        ours.sendall(unhex(v["then"]))
                    if "until" in v and cell.NAMES[type] == v["until"]:
                        got = v["until"]
                        break
                else:
                    got = "closed"
            except TimeoutError:
                pass
            except ConnectionError:
                got = "closed"
            self.that(got == v.get("until", "closed"), f"from a server: {v['name']}", got)
            ours.shutdown(socket.SHUT_RDWR)
            ended.join(PATIENCE)

    def client(self, sock, v):
        try:
            client = cell.Client(sock, self.v["genomes"][v["genome"]], check=False, timeout=PATIENCE)
            with client.open(v["call"], timeout=PATIENCE) as call:
                for _ in range(v.get("items", 0)):
                    next(iter(call))
                call.results()
        except (cell.NotSent, cell.Lost, cell.CallError, cell.Malformed):
            pass

    def packets(self, vectors):
        for v in vectors:
            kind = {"request": cell.Request, "answer": cell.Answer}[v["packet"]]
            data = unhex(v["hex"])
            want = kind(**v["fields"])
            self.that((got := kind.parse(data)) == want, f"packet {v}", got)
            if not v.get("read_only"):
                self.that(bytes(want) == data, f"packet {v} written", bytes(want).hex())

    def packets_refused(self, vectors):
        for v in vectors:
            for kind in (cell.Request, cell.Answer):
                try:
                    self.that(False, f"packet {v} was read", kind.parse(unhex(v["hex"])))
                except cell.Malformed:
                    self.that(True, "")


def hold_stream(call):
    call.wait()
    yield


def main(path, patience=PATIENCE):
    global PATIENCE
    PATIENCE = float(patience)
    with open(path, encoding="utf-8") as f:
        check = Check(json.load(f))
    check.run()
    print(f"{check.done} checks, {check.failed} failed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
