"""Who looks for secrets finds them, or nothing found would mean nothing."""

from __future__ import annotations

import logging

import pytest
from tests.support.canaries import FORMS, SECRETS, Finder, overheard
from tests.support.watched_shop import Rude, be_rude


@pytest.mark.parametrize("name", FORMS)
def test_the_finder_finds_what_is_put_in_its_way(name: str) -> None:
    """So that nothing found means that nothing was there."""
    for form in FORMS[name]:
        for thing in (b"\x00" + form + b"\xff", f"before {form.decode('latin-1')} behind"):
            finder = Finder()
            finder.add("channel", thing)
            assert finder.found != [], (name, form, thing)


class Plain:
    __module__ = "credit_payments.planted"

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Loose(Plain):
    def __repr__(self) -> str:
        return f"Loose({SECRETS['secret key']})"


def test_the_finder_looks_into_records_exceptions_and_objects() -> None:
    finder = Finder()
    logger = logging.getLogger("somebody.else")
    with overheard(finder):
        logger.debug("the key %s", SECRETS["secret key"])
        logger.warning("extra", extra={"field": [SECRETS["secret key"]]})
        try:
            be_rude()
        except Rude:
            logger.exception("failed")
    assert {line.partition(":")[0] for line in finder.found} == {
        "logs",
        "tracebacks",
        "errors",
        "pickles",
    }

    finder = Finder()
    finder.objects(Plain({"a": [Plain((Loose(None),))]}))
    assert {line.partition(":")[0] for line in finder.found} == {"reprs"}
    finder = Finder(more={"client secret": b"abc123"})
    finder.add("answers", "pi_1_secret_abc123")
    finder.add("answers", "pi_1_secret_abc123", may_show=("client secret",))
    assert len(finder.found) == 1
