"""Values that must turn up nowhere, and somebody who looks for them everywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import pickle
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs

MARK = "cAnAry"
"""In each of them that is text, so that part of one is found as well."""


def key_bytes(name: str) -> bytes:
    """32 bytes to encrypt with."""
    return f"{MARK}-{name}".encode().ljust(32, b"7")


SECRETS = {
    "secret key": f"sk_test_{MARK}1key",
    "another secret key": f"sk_test_{MARK}2key",
    "webhook secret": f"whsec_{MARK}3hook",
    "encryption key": base64.b64encode(key_bytes("k1")).decode(),
    "index key": base64.b64encode(key_bytes("ix")).decode(),
    "vault token": f"hvs.{MARK}4token",
    "vault role": f"{MARK}5-role-1b4e-28ba",
    "vault secret id": f"{MARK}6-secret-2fa1-11d3",
    "database password": f"{MARK}7:p/a?s#s",
    "authorization": f"{MARK}8session",
}
PERSON = {
    "email": f"{MARK}9.person@example.com",
    "name": f"Ada {MARK}10 Schmidt",
    "phone": f"+49 {MARK}11 5550100",
}
CLIENT_SECRET = b"_secret_"
"""In each client secret that Stripe makes, and in none of our messages without what follows it."""

DEPTH_MAX = 9
OBJECTS_MAX = 20_000


def forms(value: str) -> set[bytes]:
    """The ways in which a value may be written."""
    raw = value.encode()
    return {
        raw,
        base64.b64encode(raw).rstrip(b"="),
        raw.hex().encode(),
        quote(value, safe="").encode(),
        json.dumps(value)[1:-1].encode(),
        raw.lower(),
        raw.upper(),
        value.encode("utf-16-le"),
    }


FORMS = {name: forms(value) for name, value in (SECRETS | PERSON).items()} | {
    "the mark itself": {MARK.encode(), MARK.lower().encode(), key_bytes("k1"), key_bytes("ix")}
}


@attrs.define
class Finder:
    """Takes whatever leaves the system, by channel, and tells which canaries are in it.

    Args:
        more: what else must not turn up, by name: client secrets, which only Stripe knows before.
    """

    more: dict[str, bytes] = attrs.field(factory=dict)
    seen: dict[str, int] = attrs.field(factory=dict)
    found: list[str] = attrs.field(factory=list)

    def add(self, channel: str, what: object, *, may_show: tuple[str, ...] = ()) -> None:
        """Look through one thing; `may_show` are the names of what it is there to show."""
        self.seen[channel] = self.seen.get(channel, 0) + 1
        content = what if isinstance(what, bytes) else str(what).encode("utf-8", "surrogatepass")
        if may_show:
            for name in may_show:
                for form in FORMS[name] if name in FORMS else {self.more[name]}:
                    content = content.replace(form, b"")
        for name, spellings in FORMS.items():
            if any(form in content for form in spellings):
                self.found.append(f"{channel}: {name}: {_around(content, spellings)}")
        for name, secret in self.more.items():
            if secret in content:
                self.found.append(f"{channel}: {name}: {_around(content, {secret})}")

    def error(self, error: BaseException) -> None:
        """An exception with all that hangs on it, in each way that it may be told."""
        self.add("tracebacks", "".join(traceback.format_exception(error)))
        for one in _chain(error):
            self.add("errors", f"{one} {one!r} {one.args!r} {vars(one)!r}")
        with contextlib.suppress(Exception):  # whatever cannot be pickled holds nothing
            self.add("pickles", pickle.dumps(error))

    def objects(self, root: object) -> int:
        """Everything that can be reached from an object: how it looks, and what it pickles to."""
        count = 0
        for one in reachable(root):
            count += 1
            self.add("reprs", f"{one!r} {one!s} {one}")
            if type(one).__module__.startswith("credit_payments"):
                with contextlib.suppress(Exception):  # as above
                    self.add("pickles", pickle.dumps(one))
        return count


def _chain(error: BaseException) -> Iterator[BaseException]:
    todo, done = [error], set()
    while todo:
        one = todo.pop()
        if id(one) not in done:
            done.add(id(one))
            yield one
            todo += [other for other in (one.__cause__, one.__context__) if other is not None]


def _around(content: bytes, spellings: set[bytes]) -> str:
    at = min(content.find(form) for form in spellings if form in content)
    return content[max(0, at - 300) : at + 60].decode("utf-8", "replace")


def reachable(root: object) -> Iterator[object]:
    """Objects of classes, ours and vendors', by way of attributes, closures and containers.

    Texts are not told: that a client of Stripe's holds its key in an attribute is what it is for.
    """
    level, done = [root], {id(root)}
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for one in level:
            if not isinstance(one, (Mapping, list, tuple, set, frozenset, types.FunctionType)):
                yield one
            for part in _parts(one):
                if id(part) not in done and len(done) < OBJECTS_MAX:
                    done.add(id(part))
                    below.append(part)
        level = below


_PLAIN = (str, bytes, bytearray, int, float, type(None), type, types.ModuleType)


def _parts(one: object) -> Iterator[object]:
    parts: list[Any] = []
    if isinstance(one, Mapping):
        parts += [*one.keys(), *one.values()]
    elif isinstance(one, (list, tuple, set, frozenset)):
        parts += one
    elif isinstance(one, types.FunctionType):
        parts += [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
    elif isinstance(one, types.MethodType):
        parts.append(one.__self__)
    elif type(one).__module__.partition(".")[0] in ("credit_payments", "stripe", "hvac"):
        parts += getattr(one, "__dict__", {}).values()
        for kind in type(one).__mro__:
            slots = vars(kind).get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            parts += [getattr(one, name, None) for name in names if name != "__weakref__"]
    yield from (part for part in parts if not isinstance(part, _PLAIN))


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


TESTS_OWN = {"httpx2"}
"""Loggers of clients that only tests have: what they send is written here."""


class Overheard(logging.Handler):
    """Every record of every logger, as a formatter would write it and as others take it apart."""

    def __init__(self, finder: Finder) -> None:
        super().__init__(logging.NOTSET)
        self._finder = finder
        self._formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name in TESTS_OWN:
            return
        fields = {name: value for name, value in vars(record).items() if name != "exc_info"}
        self._finder.add("logs", f"{self._formatter.format(record)} {fields!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self._finder.error(record.exc_info[1])


@contextlib.contextmanager
def overheard(finder: Finder) -> Iterator[None]:
    """All loggers at DEBUG, into a finder."""
    root, handler = logging.getLogger(), Overheard(finder)
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Nobody logs anything."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def finding() -> Iterator[Finder]:
    """A finder that hears all loggers and warnings, and has found nothing at the end."""
    made = Finder()
    with warnings.catch_warnings(record=True) as warned, overheard(made):
        warnings.simplefilter("always")
        yield made
    made.add("warnings", [str(warning) for warning in warned])
    assert made.found == []
