"""Our loggers: no secret in a record, nothing that a foreign exception says, and never an error."""

from __future__ import annotations

import io
import json
import logging
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import credit_payments as cp
from credit_payments import logs

SOURCE = Path(str(cp.__file__)).parent
KEY = "sk_live_" + "cAnAry1" * 3
PERSON = "canary" + "@example.com"


class JsonFormatter(logging.Formatter):
    """As hosts write them: from the exception, and with all that is extra."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"message": record.getMessage(), **record.__dict__}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


class Written(logging.Handler):
    """What reaches a host: as text, as JSON, and as the record that others take apart."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.text = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.text.write(JsonFormatter().format(record) + "\n")
        self.text.write(logging.Formatter("%(name)s %(message)s").format(record) + "\n")

    @property
    def all(self) -> str:
        return self.text.getvalue()


@pytest.fixture
def written() -> Iterator[Written]:
    handler = Written()
    parent = logging.getLogger("credit_payments")
    before = parent.level
    parent.addHandler(handler)
    parent.setLevel(logging.DEBUG)
    yield handler
    parent.removeHandler(handler)
    parent.setLevel(before)


@pytest.fixture
def log(written: Written) -> logging.Logger:
    return logs.logger("credit_payments.test_logs")


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(KEY)


def test_no_module_makes_its_own_logger() -> None:
    made = re.compile(r"\bgetLogger\((?!\"(?:credit_payments|stripe|werkzeug)\"\))")
    offenders = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.name != "logs.py" and made.search(path.read_text(encoding="utf-8"))
    ]
    assert offenders == []


def test_the_filter_is_attached_once() -> None:
    one, same = logs.logger("credit_payments.test_logs"), logs.logger("credit_payments.test_logs")
    assert one is same
    assert [isinstance(found, cp.RedactingFilter) for found in one.filters] == [True]


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (f"the key {KEY}", ()),
        ("the key %s", (KEY,)),
        ("the key %(key)s", ({"key": KEY},)),
        ("the key %r and %d", ([{"a": (KEY,)}], 1)),
        ("the key %r", (KEY.encode(),)),
        ("the key %.3s", (KEY,)),
        ("the key %s", (cp.NotConfigured(KEY),)),
        ("%d keys", (KEY,)),
        ("%s and %s", (KEY,)),
        ("none", (KEY,)),
        (KEY + "%", (1,)),
        ("the key %s", (Unprintable(),)),
        (Unprintable(), ()),
        (cp.NotConfigured(KEY), ()),
        ("the key %s", ([[[[[[[KEY]]]]]]],)),
        ("the keys %s", ([KEY] * 1_000,)),
    ],
)
def test_a_message_and_its_arguments_show_no_key(
    log: logging.Logger, written: Written, message: Any, arguments: tuple[Any, ...]
) -> None:
    log.warning(message, *arguments)
    [record] = written.records
    assert record.getMessage()
    assert "cAnAry1" not in written.all + repr(record.args) + repr(record.msg)


def test_a_record_without_secrets_is_left_as_it_is(log: logging.Logger, written: Written) -> None:
    items = ["evt_1"]
    log.warning("%s: %s", "pi_1", items, extra={"event_id": "evt_1", "tries": items})
    [record] = written.records
    assert (record.msg, record.args) == ("%s: %s", ("pi_1", items))
    assert vars(record)["tries"] is items


def test_extra_attributes_show_no_key(log: logging.Logger, written: Written) -> None:
    extra = {
        "one": KEY,
        "some": {"a": [KEY, b"x" + KEY.encode()], KEY: 1},
        "error": cp.NotConfigured(KEY),
        "fine": 5,
    }
    log.warning("told", extra=extra)
    [record] = written.records
    assert "cAnAry1" not in written.all + repr(vars(record))
    assert vars(record)["fine"] == 5
    assert vars(record)["one"] == "sk_live_***"


@pytest.mark.parametrize(
    "extra",
    [
        {"password": "cAnAry1"},
        {"settings": {"database": {"password": "cAnAry1"}}},
        {"headers": {b"Authorization": b"Bearer cAnAry1"}},
        {"headers": [("X-Vault-Token", "cAnAry1"), ("Accept", "*/*")]},
        {"some": deque([KEY])},
        {"some": {"a": KEY}.values()},
        {"error": ExceptionGroup("several", [cp.NotConfigured(KEY)])},
    ],
)
def test_neither_do_those_that_a_name_tells_of_nor_what_other_containers_hold(
    extra: dict[str, Any],
) -> None:
    record = logging.makeLogRecord({"msg": "told"} | extra)
    assert cp.RedactingFilter().filter(record)
    assert record.getMessage() == "told"
    assert "cAnAry1" not in repr(vars(record))


def test_deep_and_long_values_cost_nobody_the_record(log: logging.Logger, written: Written) -> None:
    deep: Any = {"id": "evt_1"}
    for _ in range(50):
        deep = {"a": deep}
    wide: Any = ["evt_1"] * 100
    for _ in range(7):
        wide = [wide] * 100  # as many items as no record could ever be looked through
    ids = [f"evt_{number}" for number in range(300)]
    log.warning("these: %s", ids, extra={"config": {"a": {"b": {"c": {"d": 1}}}}})
    log.warning("one", extra={"deep": deep, "wide": wide})
    one, two = written.records
    assert one.getMessage() == f"these: {ids}"
    assert vars(one)["config"] == {"a": {"b": {"c": {"d": 1}}}}
    assert two.getMessage() == "one"


def test_what_the_caller_has_in_hand_is_not_changed(log: logging.Logger) -> None:
    held = {"password": KEY, "some": [KEY]}
    log.warning("%(password)s", held)
    log.warning("%s of %s", held, [held], extra={"held": held})
    assert held == {"password": KEY, "some": [KEY]}


def fail(error: Exception) -> NoReturn:
    raise error


def fail_as_a_driver(person: str) -> None:
    try:
        fail(ConnectionError(f"no route to {person}"))
    except ConnectionError as error:
        failure = ValueError(person, KEY)
        failure.add_note(person)
        raise failure from error


def test_what_a_foreign_exception_says_is_withheld_and_its_place_is_shown(
    log: logging.Logger, written: Written
) -> None:
    try:
        fail_as_a_driver(PERSON)
    except ValueError:
        log.exception("failed")
    [record] = written.records
    assert PERSON not in written.all
    assert "cAnAry1" not in written.all
    assert written.all.count("ValueError: [withheld]") == 2  # once in each form
    assert written.all.count("ConnectionError: [withheld]") == 2
    assert "fail_as_a_driver" in written.all
    assert "direct cause" in written.all
    assert record.exc_info is not None
    assert PERSON not in repr(record.exc_info[1])


def test_an_error_of_ours_says_what_it_says(log: logging.Logger, written: Written) -> None:
    error = cp.StorageUnavailable("locked for too long")
    try:
        fail(error)
    except cp.StorageUnavailable:
        log.exception("failed")
    assert written.records[0].exc_info is not None
    assert written.records[0].exc_info[1] is error
    assert "credit_payments.errors.StorageUnavailable: locked for too long" in written.all


def test_a_chain_without_an_end_is_read_once(log: logging.Logger, written: Written) -> None:
    one, other = ValueError(PERSON), ValueError(PERSON)
    one.__cause__, other.__cause__ = other, one
    long: BaseException = ValueError(PERSON)
    for _ in range(500):
        longer = ValueError(PERSON)
        longer.__context__, long = long, longer
    log.error("failed", exc_info=one)
    log.error("failed", exc_info=long)
    log.error("failed", exc_info=ExceptionGroup(PERSON, [ValueError(PERSON)]))
    assert len(written.records) == 3
    assert PERSON not in written.all


def test_an_exception_that_cannot_be_told_does_no_harm(
    log: logging.Logger, written: Written
) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError(PERSON)

    log.error("failed", exc_info=Silent())
    log.error("failed: %s", Silent())
    log.error("failed", exc_info=True)  # noqa: LOG014 - there is none
    assert len(written.records) == 3
    assert PERSON not in written.all


def test_a_line_of_source_and_a_stack_show_no_key(log: logging.Logger, written: Written) -> None:
    try:
        raise ValueError("sk_live_cAnAry1")  # noqa: TRY301 - the line itself is quoted
    except ValueError:
        log.exception("failed", stack_info=True)
    [record] = written.records
    assert record.exc_text is not None
    shown = logging.Formatter().format(record)
    assert "cAnAry1" not in shown
    assert "Stack (most recent call last)" in shown


def test_a_host_may_put_it_on_its_own_handler() -> None:
    """There it takes secrets out, and leaves what the host's own exceptions say."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(cp.RedactingFilter())
    host = logging.getLogger("host_of_test_logs")
    host.propagate = False
    host.addHandler(handler)
    try:
        fail(ValueError(f"{PERSON} has {KEY}"))
    except ValueError as error:
        error.add_note(f"noted: {KEY}")
        host.exception("the key %s", KEY)
        told = repr(error)
    host.removeHandler(handler)
    assert f"ValueError: {PERSON} has sk_live_***" in stream.getvalue()
    assert "noted: sk_live_***" in stream.getvalue()
    assert "cAnAry1" not in stream.getvalue()
    assert "cAnAry1" in told  # the exception itself is as it was


def test_it_works_with_a_record_that_was_formatted_before() -> None:
    record = logging.makeLogRecord({"msg": "m", "exc_text": f"ValueError: {KEY}", "message": KEY})
    assert cp.RedactingFilter().filter(record)
    assert record.exc_text == "ValueError: sk_live_***"
    assert record.message == "sk_live_***"
