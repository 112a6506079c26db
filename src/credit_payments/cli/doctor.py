"""`credit-payments doctor`: what a person should do, from the command line."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from textwrap import indent

import attrs
import click
import msgspec

from credit_payments.bootstrap import diagnose
from credit_payments.cli.systems import hosts
from credit_payments.doctor import of_opening
from credit_payments.domain.diagnosis import LEVELS, Diagnosis, Finding, Level, problem
from credit_payments.errors import CreditPaymentsError

EXIT_CODES: dict[Level, int] = {"ok": 0, "warning": 1, "problem": 2}
_COLORS: dict[Level, str] = {"ok": "green", "warning": "yellow", "problem": "red"}
_OUR_OWN = {"setting.create_database", "setting.deliver_notifications"}
"""Given by the command itself, and not what the application has."""


def doctor(database: str | None, app: str | None, *, webhook_url: str | None, as_json: bool) -> int:
    """Examine, print what was found, and return the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # unsafe settings have a finding
        found = _of_settings(database, webhook_url) if app is None else _of_app(app, webhook_url)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.as_dict()), indent=2).decode())
    else:
        click.echo("\n".join(_told(found)), color=_is_colored())
    return EXIT_CODES[found.level]


def _of_settings(database: str | None, webhook_url: str | None) -> Diagnosis:
    given = {} if database is None else {"database": database}
    found = diagnose(webhook_url=webhook_url, **given)
    return Diagnosis(
        tuple(
            attrs.evolve(one, said="from --database")
            if given and one.name == "setting.database" and one.level == "ok"
            else one
            for one in found.findings
            if one.name not in _OUR_OWN
        )
    )


def _of_app(app: str, webhook_url: str | None) -> Diagnosis:
    with ExitStack() as opened:
        try:
            system = opened.enter_context(hosts(app))
        except click.ClickException:  # there is no such app
            raise
        except CreditPaymentsError as error:  # of the host's own `connect`
            return Diagnosis(tuple(of_opening(error)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of the host's own code
            return Diagnosis((_of_host(app, error),))
        return system.diagnose(webhook_url=webhook_url)


def _of_host(app: str, error: BaseException) -> Finding:
    """Whose words may hold anything, a secret too: its kind is told, and how to see the rest."""
    module, _, path = app.partition(":")
    see = f"import {module}; {module}.{path}()"
    return problem(
        "app",
        f"{app} cannot be had: {type(error).__name__}",
        f"see where; what it prints may hold secrets: python -c {shlex.quote(see)}",
    )


def _told(found: Diagnosis) -> Iterator[str]:
    width = max((len(one.name) for one in found.findings), default=0)
    for one in found.findings:
        yield _line(one, width)
        if one.advice is not None:
            yield indent("\n".join(map(_printable, one.advice.split("\n"))), " " * 9)
    yield f"\n{_summary(found)}"


def _line(one: Finding, width: int) -> str:
    padding = " " * (9 - len(one.level))
    return f"{_styled(one.level)}{padding}{one.name:<{width}}  {_printable(one.said)}"


def _printable(text: str) -> str:
    """A line that stays one, and gives a terminal no orders: it may hold what Stripe has told."""
    return "".join(one if one.isprintable() else " " for one in text)


def _summary(found: Diagnosis) -> str:
    """How many of each level, the worst first: `2 problems, 1 warning, 14 ok`."""
    counts = [(level, found.count(level)) for level in reversed(LEVELS)]
    return ", ".join(
        f"{number} {level}{'s' if number > 1 and level != 'ok' else ''}"
        for level, number in counts
        if number
    )


def _styled(level: Level) -> str:
    return click.style(level, fg=_COLORS[level], bold=level != "ok")


def _is_colored() -> bool:
    """On a terminal, unless its user wants none (https://no-color.org)."""
    is_seen = sys.stdout is not None and sys.stdout.isatty()
    return is_seen and not os.environ.get("NO_COLOR")
