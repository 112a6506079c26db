"""Loggers whose records show no secret, and nothing that somebody else's exception quotes.

A filter of a parent logger does not see the records of its children
(https://docs.python.org/3/library/logging.html#filter-objects): so each of our loggers gets its own
here, and none is made elsewhere.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any, Final

from credit_payments.errors import CreditPaymentsError
from credit_payments.redaction import MASK, names_secret, redact

WITHHELD: Final = "[withheld]"
"""Stands for what an exception says that is not ours: drivers quote their arguments there."""

_ITEMS_MAX: Final = 1_000
"""How many items of containers are looked at, of all those in a record."""
_DEPTH_MAX: Final = 8
_ERRORS_MAX: Final = 20
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "taskName"}


class RedactingFilter(logging.Filter):
    """Takes secrets out of log records: out of messages, tracebacks, stacks and extra attributes.

    It goes by what secrets look like: keys of Stripe, webhook and client secrets, tokens of Vault,
    passwords in URLs, credentials in headers; in mappings and extra attributes also by their names.
    Put it on a handler, where it sees the records of all loggers, those of Stripe's SDK and of
    database drivers among them. The library's own loggers have a stricter one already. It lets
    every record pass, and raises nothing. Objects of other classes in extra attributes stay: who
    writes them has them say what they say.

    Example:
        >>> import logging
        >>> handler = logging.StreamHandler()
        >>> handler.addFilter(RedactingFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where that has to be; always True."""
        try:
            self._clean(record)
        except Exception:  # noqa: BLE001 - whatever an argument's own `str` raises
            _forget(record)
        return True

    def said_by(self, error: BaseException) -> str:
        """What may be shown of what an exception says, its notes included."""
        return redact("\n".join([_text(error), *map(str, getattr(error, "__notes__", ()))]))

    def _clean(self, record: logging.LogRecord) -> None:
        values = _Values(self.said_by)
        self._clean_message(record, values)
        self._clean_exception(record)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                record.__dict__[name] = values.cleaned_by_name(name, value)

    def _clean_message(self, record: logging.LogRecord, values: _Values) -> None:
        record.msg, record.args = values.cleaned(record.msg), values.cleaned(record.args)
        try:
            written = record.getMessage()
        except (LookupError, TypeError, ValueError):
            # `logging` would print the arguments to stderr as they are.
            record.msg, record.args = f"{redact(str(record.msg))} [arguments do not fit]", ()
            return
        clean = redact(written)
        if clean != written:  # else the template stays, by which some group records
            record.msg, record.args = clean, ()

    def _clean_exception(self, record: logging.LogRecord) -> None:
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        # Another exception rather than only a text: formatters that write JSON, and those who send
        # exceptions elsewhere, look at the exception.
        stand_in = _stand_in(error, self.said_by)
        before, after = _traceback(error), _traceback(stand_in)
        clean = redact(after)
        if clean != before:
            record.exc_info = type(stand_in), stand_in, stand_in.__traceback__
        if clean != after:  # a line of source that was quoted
            record.exc_text = clean


class _Values:
    """Goes through what one record holds, up to an end: what is not looked at is not shown."""

    def __init__(self, said_by: Callable[[BaseException], str]) -> None:
        self._said_by = said_by
        self._items_left = _ITEMS_MAX

    def cleaned(self, value: Any, depth: int = 0) -> Any:
        """A value without secrets; the same one where it has none, and never changed itself."""
        if value is None or isinstance(value, int | float):
            return value
        if isinstance(value, str):
            clean = redact(value)
            return value if clean == value else clean
        if isinstance(value, bytes | bytearray):
            text = value.decode("latin-1")
            clean = redact(text)
            return value if clean == text else clean.encode("latin-1")
        if isinstance(value, BaseException):
            return self._cleaned_error(value)
        if isinstance(value, Mapping | AbstractSet | ValuesView | list | tuple | deque):
            return self._cleaned_items(value, depth)
        return value

    def cleaned_by_name(self, name: object, value: Any, depth: int = 0) -> Any:
        """The same; a text goes whatever it looks like where its name says that it is secret."""
        called = name.decode("latin-1") if isinstance(name, bytes) else name
        is_text = isinstance(value, str | bytes | bytearray)
        if is_text and isinstance(called, str) and names_secret(called):
            return MASK
        return self.cleaned(value, depth)

    def _cleaned_error(self, error: BaseException) -> BaseException | str:
        said = self._said_by(error)
        # Some say less than they hold, such as groups.
        shown = repr(error)
        if said == _text(error) and redact(shown) == shown:
            return error
        return f"{type(error).__name__}: {said}"

    def _cleaned_items(self, value: Any, depth: int) -> Any:
        if depth == _DEPTH_MAX or len(value) > self._items_left:
            return MASK
        self._items_left -= len(value)
        if isinstance(value, Mapping):
            return self._cleaned_mapping(value, depth + 1)
        before = [*value]
        if isinstance(value, tuple) and len(before) == 2 and depth:  # noqa: PLR2004 - as headers are
            name, item = before
            after = [self.cleaned(name, depth + 1), self.cleaned_by_name(name, item, depth + 1)]
        else:
            after = [self.cleaned(item, depth + 1) for item in before]
        if all(new is old for new, old in zip(after, before, strict=True)):
            return value
        return tuple(after) if isinstance(value, tuple) else after

    def _cleaned_mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        before = [*value.items()]
        after = [
            (self.cleaned(name, depth), self.cleaned_by_name(name, item, depth))
            for name, item in before
        ]
        is_same = all(
            new is old
            for pair, pair_before in zip(after, before, strict=True)
            for new, old in zip(pair, pair_before, strict=True)
        )
        return value if is_same else dict(after)


class _OurFilter(RedactingFilter):
    """Also withholds what exceptions say that are not ours."""

    def said_by(self, error: BaseException) -> str:
        return super().said_by(error) if isinstance(error, CreditPaymentsError) else WITHHELD


_OURS: Final = _OurFilter()


def logger(name: str) -> logging.Logger:
    """The logger of one of our modules: `logger(__name__)`."""
    found = logging.getLogger(name)
    found.addFilter(_OURS)  # once, however often it is asked for
    return found


def _stand_in(error: BaseException, said_by: Callable[[BaseException], str]) -> BaseException:
    """An exception of the same name, place and chain, which says something else."""
    made: dict[int, BaseException] = {}

    def of(original: BaseException | None) -> BaseException | None:
        if original is None or id(original) in made or len(made) == _ERRORS_MAX:
            return None if original is None else made.get(id(original))
        kind = type(original)
        names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        new: BaseException = type(kind.__name__, (Exception,), names)(said_by(original))
        made[id(original)] = new
        new.__traceback__ = original.__traceback__
        new.__cause__, new.__context__ = of(original.__cause__), of(original.__context__)
        new.__suppress_context__ = original.__suppress_context__
        return new

    return of(error) or error


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip("\n")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is the host's, or a driver's
        return WITHHELD


def _forget(record: logging.LogRecord) -> None:
    """Leave nothing of a record that could not be read but that it was there."""
    record.msg, record.args = f"{WITHHELD}: a record that could not be read", ()
    record.exc_info = record.exc_text = record.stack_info = None
    for name in set(record.__dict__) - _STANDARD:
        record.__dict__[name] = MASK
