"""The side in Python of protocol_test.go.

python3 peer.py serve GENOME.json       serves a cell as systemd starts it
python3 peer.py call WHAT SOCKET [FILE]  calls a cell in Go, and ends with 1 when something is not as it should be
"""

import itertools
import json
import socket
import sys
import threading
import time

import cell

PATIENCE = 10


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


# Cells.


class Live:
    def __init__(self):
        self.notes, self.items, self.ended = [], 0, 0

    def add(self, call, a, b):
        return {"sum": a + b}

    def fail(self, call, how):
        if how == "own":
            raise cell.CallError(cell.APPLICATION, "Broken", "it broke", {"Why": "on purpose", "Left": [1, -2]})
        if how == "strange":
            raise cell.CallError(cell.APPLICATION, "Secret", "password 1234")
        if how == "foreign":  # of another cell, that the method called
            raise cell.CallError(cell.OVERLOADED, message="password 1234")
        raise RuntimeError("password 1234")

    def wait(self, call):
        try:
            call.wait()
        finally:
            self.ended += 1

    def note(self, call, text):
        self.notes.append(text)

    def all_notes(self, call):
        return {"result": self.notes}

    def count(self, call, to, size):
        try:
            for _ in itertools.count() if to < 0 else range(to):
                yield bytes(size)
                self.items += 1
        finally:
            self.ended += 1

    def total(self, call):
        return {"sum": sum(call.items())}

    def mirror(self, call):
        yield from call.items()

    def hold(self, call):
        self.wait(call)
        yield b""

    def seen(self, call):
        return {"items": self.items, "ended": self.ended}

    def ticks(self, call):
        yield from range(3)

    def handlers(self):
        return {
            "Add": self.add, "Fail": self.fail, "Wait": self.wait, "Note": self.note, "Notes": self.all_notes, "Count": self.count,
            "Total": self.total, "Mirror": self.mirror, "Hold": self.hold, "Seen": self.seen, "Ticks": self.ticks,
        }


class Catalog:
    def __init__(self):
        self.items = {}

    def list(self, call):
        yield from (self.items[name] for name in sorted(self.items))

    def import_(self, call):
        count = 0
        for item in call.items():
            self.items[item["Name"]] = item
            count += 1
        return {"count": count}

    def take(self, call, name, count):
        item = self.items.get(name)
        if not item or item["Stock"] < count:
            left = item["Stock"] if item else 0
            raise cell.CallError(cell.APPLICATION, "TooFew", f"only {left} left", {"Left": left})
        item["Stock"] -= count
        return {"cents": item["Cents"] * count}

    def handlers(self):
        return {"List": self.list, "Import": self.import_, "Take": self.take}


def charge(call, name, cents, **others):
    payment = others["with"]
    if payment is None:
        raise cell.CallError(cell.APPLICATION, "Declined", "no payment", {"Reason": "no payment"})
    return {"result": {"Number": name, "Cents": cents, "By": payment["type"]}}


def registered(call):
    yield {"Name": "Ada", "Since": cell.Time(1, 5), "Email": None}
    yield {"Name": "Bob", "Since": cell.Time(), "Email": "b@example.org"}


def serve(path):
    genome = load(path)
    entries = []
    handlers = {
        "live": lambda: Live().handlers(),
        "catalog": lambda: Catalog().handlers(),
        "billing": lambda: {"Charge": charge},
        "users": lambda: {"Registered": registered},
        "audit": lambda: {"Record": lambda call, e: entries.append(e), "Entries": lambda call: {"result": entries}},
    }
    return cell.main(genome, handlers[genome["cell"]]())


# Callers. Each is given a connection to the cell.


def dial(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s


def check(ok, *what):
    if not ok:
        raise AssertionError(*what)


def fails(code, f, *args, **parameters):
    try:
        got = f(*args, timeout=PATIENCE, **parameters)
    except cell.CallError as e:
        check(e.code == code, "code", e.code, "want", code, str(e))
        return e
    raise AssertionError("no error but", got)


def until(f, want):
    """Waits until f gives what is wanted."""
    end = time.monotonic() + PATIENCE
    while (got := f()) != want:
        check(time.monotonic() < end, "got", got, "want", want)
        time.sleep(0.005)


def calculator(path, file):
    genome = load(file)
    c = cell.Client(dial(path), genome, name="python", timeout=PATIENCE)
    check((c.peer.name, c.peer.cell_version, c.peer.hash) == ("calculator", "1.0.0", cell.wire_hash(genome)), c.peer)
    check(c.genome() == genome, "method 0")
    c.ping()
    check(c.call("Add", a=3, b=-4) == {"result": -1})
    most = (1 << 63) - 1
    e = fails(cell.APPLICATION, c.call, "Add", a=most, b=1)
    check((e.name, e.message, e.value) == ("Overflow", "overflow", {"A": most, "B": 1}), vars(e))
    e = fails(cell.APPLICATION, c.call, "Div", a=1, b=0)
    check((e.name, e.value) == ("DivisionByZero", {}), vars(e))
    answers, threads = {}, []
    for i in range(200):  # many at once on one connection
        threads.append(threading.Thread(target=lambda i=i: answers.update({i: c.call("Sub", a=i, b=1)["result"]})))
        threads[-1].start()
    for t in threads:
        t.join(PATIENCE)
    check(answers == {i: i - 1 for i in range(200)}, answers)
    c.close()

    c = cell.Client(dial(path), timeout=PATIENCE)  # takes the genome of the cell
    check(c.call("Div", a=7, b=-2) == {"result": -3})
    c.close()

    other = json.loads(json.dumps(genome).replace('"int64"', '"string"'))
    try:
        cell.Client(dial(path), other, timeout=PATIENCE)
        raise AssertionError("a cell with another hash was called")
    except cell.Incompatible:
        pass
    c = cell.Client(dial(path), other, check=False, timeout=PATIENCE)
    e = fails(cell.INVALID, c.call, "Add", a="3", b="4")
    check((e.field, e.message) == ("a", "it has another type"), vars(e))
    other["methods"][0]["id"] = 99
    c = cell.Client(dial(path), other, check=False, timeout=PATIENCE)
    fails(cell.NO_METHOD, c.call, "Add", a="3", b="4")
    other["methods"][0].update(id=1, out={"next": 2, "fields": [{"id": 1, "name": "item", "type": "int8"}]})
    c = cell.Client(dial(path), other, check=False, timeout=PATIENCE)
    fails(cell.INVALID, c.call, "Add", a="3", b="4")


def catalog(path, file):
    c = cell.Client(dial(path), load(file), timeout=PATIENCE)
    item = {"Name": "box", "Cents": 250, "Stock": 2, "Sizes": [1.0, 2.0, 3.5]}
    with c.open("Import", timeout=PATIENCE) as call:
        for i in range(3):
            check(call.send(item | {"Name": f"box{2 - i}"}))
        check(call.results() == {"count": 3})
    with c.open("List", timeout=PATIENCE) as call:
        check(list(call) == [item | {"Name": f"box{i}"} for i in range(3)])
        check(call.results() == {})
    with c.open("List", timeout=PATIENCE) as call:
        check(next(iter(call))["Name"] == "box0")  # and enough
    check(c.call("Take", name="box1", count=2) == {"cents": 500})
    e = fails(cell.APPLICATION, c.call, "Take", name="box1", count=1)
    check((e.name, e.message, e.value) == ("TooFew", "only 0 left", {"Left": 0}), vars(e))


def users(path, file):
    c = cell.Client(dial(path), load(file), timeout=PATIENCE)
    with c.open("Registered") as topic:
        for i in range(100):  # until the subscription is there
            user = c.call("Register", name=f"u{i}", password="p", email=None if i % 2 else "a@example.org")["result"]
            try:
                data = topic.stream.receive(time.monotonic() + 0.1)
                break
            except TimeoutError:
                pass
        item = c.codec.decode(topic.method["out"], data)["item"]
        check(item == user and abs(item["Since"].seconds - time.time()) < 60, item, user)
    e = fails(cell.APPLICATION, c.call, "Register", name="u0", password="p", email=None)
    check((e.name, e.value) == ("Taken", {"Name": "u0"}), vars(e))
    fails(cell.APPLICATION, c.call, "Check", name="u0", password="x")


def audit(path, file):
    genome = load(file)
    c = cell.Client(dial(path), genome, timeout=PATIENCE)
    entry = {"Who": "Ada", "What": "paid"}
    check(c.call("Record", e=entry) is None)
    until(lambda: c.call("Entries")["result"], [entry])
    c.codec.methods["Record"]["oneway"] = False  # an event may be called with an answer
    check(c.call("Record", timeout=PATIENCE, e=entry) == {})
    check(c.call("Entries")["result"] == [entry, entry])


ITEM = 1000  # bytes; its message has three more
FULL = -(-cell.WINDOW // (ITEM + 3 + cell.ITEM_COST))  # items that the first credit is for


def live(path, file):
    genome = load(file)
    c = cell.Client(dial(path), genome, timeout=PATIENCE)  # the hash of genome is one that the cell accepts
    check(c.peer.hash != cell.wire_hash(genome) and cell.wire_hash(genome) in c.peer.accepts, c.peer)
    check(c.call("Add", timeout=PATIENCE, a=100, b=27, options={"priority": 3, "attempt": 2, "trace": bytes(range(16))}) == {"sum": 127})
    e = fails(cell.APPLICATION, c.call, "Fail", how="own")
    check((e.name, e.message, e.value) == ("Broken", "it broke", {"Why": "on purpose", "Left": [1, -2]}), vars(e))
    fails(cell.REMOTE, c.call, "Fail", how="strange")
    fails(cell.REMOTE, c.call, "Fail", how="panic")
    check(c.call("Note", text="hello") is None)
    until(lambda: c.call("Notes")["result"], ["hello"])

    for to, size in ((0, 1), (5, 3), (2000, 0), (3, 1_000_000)):
        with c.open("Count", timeout=PATIENCE, to=to, size=size) as call:
            check(list(call) == [bytes(size)] * to, to, size)
            check(call.results() == {})
    for n in (0, 1, 50_000):
        with c.open("Total", timeout=PATIENCE) as call:
            for i in range(n):
                check(call.send(i))
            check(call.results() == {"sum": n * (n - 1) // 2}, n)
    with c.open("Mirror", timeout=PATIENCE) as call:
        got = iter(call)
        for i in range(100):
            call.send(f"item {i}")
            check(next(got) == f"item {i}")
        call.end_items()
        check(list(got) == [] and call.results() == {})
    with c.open("Mirror", timeout=PATIENCE) as call:  # more than the credit of both directions
        sender = threading.Thread(target=lambda: [call.send("x" * 100_000) for _ in range(30)] and call.end_items())
        sender.start()
        check(sum(len(text) for text in call) == 3_000_000)
        sender.join(PATIENCE)
    with c.open("Ticks", timeout=PATIENCE) as call:
        check(list(call) == [1, cell.Missed(3), 5])

    seen = lambda: c.call("Seen", timeout=PATIENCE)
    before = seen()
    with c.open("Count", timeout=PATIENCE, to=-1, size=ITEM) as call:  # a slow reader
        next(iter(call))
        until(lambda: seen()["items"] - before["items"], FULL)
    until(lambda: seen()["ended"] - before["ended"], 1)  # leaving cancels at the provider
    check(seen()["items"] - before["items"] == FULL, "more items than there was credit for", seen())
    before, sent = seen(), []

    def send_all(call):
        while call.send(bytes(ITEM)):
            sent.append(1)

    with c.open("Hold", timeout=PATIENCE) as call:  # a provider that reads nothing
        sender = threading.Thread(target=send_all, args=(call,))
        sender.start()
        until(lambda: len(sent), FULL)
    sender.join(PATIENCE)
    check(len(sent) == FULL, "sent", len(sent), "want", FULL)
    until(lambda: seen()["ended"] - before["ended"], 1)
    with c.open("Hold", timeout=0.05) as call:  # the deadline while it waits for credit
        send_all(call)
        fails(cell.DEADLINE, lambda timeout: call.results())
    until(lambda: seen()["ended"] - before["ended"], 2)
    before = seen()
    try:
        c.call("Wait", timeout=0.05)
        raise AssertionError("no deadline")
    except cell.CallError as e:
        check(e.code == cell.DEADLINE, vars(e))
    until(lambda: seen()["ended"] - before["ended"], 1)
    with c.open("Wait"):
        pass
    until(lambda: seen()["ended"] - before["ended"], 2)

    # The cell goes away, but answers what runs. It waits for a word from this side before each step.
    call = c.open("Wait", timeout=PATIENCE)
    c.ping()  # the call has come
    print("drain", flush=True)
    until(lambda: c.away is not None, True)
    try:
        c.call("Add", a=1, b=2)
        raise AssertionError("a call to a cell that goes away")
    except cell.NotSent:
        pass
    print("end", flush=True)
    check(call.results() == {})
    until(lambda: c.ended is not None, True)


def broker(target, file):
    """target is what celld is asked for; file is the genome, or what the error says."""
    try:
        sock, instance = cell.connect(target, "" if file == "refused" else cell.wire_hash(load(file)), timeout=PATIENCE)
    except cell.BrokerError as e:
        check(file == "refused", str(e))
        print(e.code, e)
        return
    check(file != "refused" and instance == target, instance)
    c = cell.Client(sock, load(file), timeout=PATIENCE)
    check(c.call("Add", a=1, b=2) == {"result": 3})


def main(what, *args):
    if what == "serve":
        return serve(*args)
    name, *args = args
    {"calculator": calculator, "catalog": catalog, "users": users, "audit": audit, "live": live, "broker": broker}[name](*args)
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
