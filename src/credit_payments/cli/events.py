"""`credit-payments events …`: dead letters and the quarantine, for people to decide."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import attrs
import click
import msgspec

from credit_payments.cli.systems import chosen, opened, told
from credit_payments.domain import payment
from credit_payments.domain.values import KeptEvent, Page, Quarantined
from credit_payments.errors import CreditPaymentsError, NotFound
from credit_payments.inbox import Inbox
from credit_payments.system import System

QUARANTINED = "quarantined"
_CELL_CHARACTERS_MAX = 60


def list_(
    database: str | None, status: str, *, limit: int, cursor: str | None, as_json: bool
) -> None:
    """Print a page of events, or of what is in the quarantine."""
    page: Page[KeptEvent] | Page[Quarantined]
    with opened(database) as system:
        if status == QUARANTINED:
            page = system.events.quarantine(limit=limit, cursor=cursor)
        else:
            asked = None if status == "all" else status
            page = system.events.list(asked, limit=limit, cursor=cursor)
    if as_json:
        _tell_json({"items": [attrs.asdict(item) for item in page], "cursor": page.cursor})
        return
    if not page.items:
        click.echo("Nothing.")
    else:
        click.echo("\n".join(_aligned(_rows(page.items))))
    if page.cursor:
        click.echo(f"There may be more: --cursor {page.cursor}")


def show(database: str | None, name: str, *, as_json: bool) -> None:
    """Print all that is kept about an event, an incident, or a payment intent."""
    with opened(database) as system:
        found = _found(system.events, name)
    if as_json:
        _tell_json([attrs.asdict(one) for one in found])
        return
    click.echo("\n\n".join(_whole(one) for one in found))


def replay(database: str | None, app: str | None, event_ids: Sequence[str], *, every: bool) -> int:
    """Have events tried again, print what became of each, and return the exit code."""
    with told(), chosen(database, app) as system:
        if every:
            click.echo(f"{system.events.replay_all()} dead letters are due now; {_WHO_APPLIES}.")
            return 0
        return _each(event_ids, lambda event_id: _replay(system, event_id))


def discard(
    database: str | None, app: str | None, event_id: str, *, reason: str, actor: str | None
) -> None:
    """Put an event away."""
    with told(), chosen(database, app) as system:
        event = system.events.discard(event_id, reason=reason, actor=actor or whoever())
    click.echo(f"{event.event_id} is {event.problem}")


def resolve(
    database: str | None,
    app: str | None,
    payment_intent_id: str,
    *,
    user_id: str,
    credits: int | None,
    reason: str,
    actor: str | None,
    yes: bool,
) -> None:
    """Say what will be credited, ask, and credit it."""
    who = actor or whoever()
    with told(), chosen(database, app) as system:
        filed = system.events.incident(payment.cause(payment_intent_id))
        number = _as_quoted(filed) if credits is None else credits
        click.echo(f"{payment_intent_id}: {_amount(filed)}; {filed.reason}")
        click.echo(f"{number} credits for {user_id}, decided by {who}: {reason}")
        if not yes:
            click.confirm("Credit them?", abort=True)
        receipt = system.events.resolve(
            payment_intent_id, user_id=user_id, credits=number, actor=who, reason=reason
        )
    click.echo(f"Credited, as {receipt.transaction_id}.")


def dismiss(
    database: str | None, app: str | None, incident_id: str, *, reason: str, actor: str | None
) -> None:
    """Decide that nothing is to be done."""
    with told(), chosen(database, app) as system:
        filed = system.events.dismiss(incident_id, reason=reason, actor=actor or whoever())
    click.echo(f"{filed.incident_id} is {filed.decision}")


def whoever() -> str:
    """The user of the operating system."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container without names
        raise click.UsageError("--actor is needed: this user has no name here") from None


_WHO_APPLIES = "a worker applies what is due"


def _replay(system: System, event_id: str) -> str:
    event = system.events.replay(event_id)
    return f"{event.event_id} is due now; {_WHO_APPLIES}."


def _each(names: Sequence[str], do: Callable[[str], str]) -> int:
    """Each of them, also after one that failed; 2 if any has."""
    code = 0
    for name in names:
        try:
            click.echo(do(name))
        except CreditPaymentsError as error:
            click.echo(f"Error: {error}", err=True)
            code = 2
    return code


def _as_quoted(filed: Quarantined) -> int:
    """Prices are the application's, and not known here: only a quote says what an amount buys."""
    is_quoted = (filed.amount, filed.currency) == (filed.quoted_amount, filed.quoted_currency)
    if filed.quoted_credits is None or not is_quoted:
        raise click.UsageError("what was received is not what a quote says: give --credits")
    return filed.quoted_credits


def _found(events: Inbox, name: str) -> list[KeptEvent | Quarantined]:
    if name.startswith("pi_"):
        about = (payment.cause(name), payment.early_incident(name))
        found = [filed for incident_id in about for filed in _incident(events, incident_id)]
        if not found:
            raise NotFound(f"Nothing is filed of {name}.")
        return [*found]
    return [events.incident(name) if ":" in name else events.get(name)]


def _incident(events: Inbox, incident_id: str) -> Iterator[Quarantined]:
    try:
        yield events.incident(incident_id)
    except NotFound:
        return


# -- how it is told ----------------------------------------------------------------------------


def _tell_json(told: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())


def _rows(items: Sequence[KeptEvent] | Sequence[Quarantined]) -> Iterator[Sequence[str]]:
    if isinstance(items[0], KeptEvent):
        yield "EVENT", "TYPE", "ABOUT", "STATUS", "TRIES", "RECEIVED", "PROBLEM"
    else:
        yield "INCIDENT", "SINCE", "AMOUNT", "USER", "REASON"
    for item in items:
        if isinstance(item, KeptEvent):
            status = item.status if item.status != "done" else item.outcome
            yield (
                item.event_id, item.type, item.subject, status, str(item.attempts),
                _text(item.received_at), item.problem or "-",
            )  # fmt: skip
        else:
            yield (
                item.incident_id, _text(item.created_at), _amount(item), item.user_id or "-",
                item.reason,
            )  # fmt: skip


def _aligned(rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Rows whose columns stand below each other; the last one is as wide as it likes."""
    cells = [[*(cell[:_CELL_CHARACTERS_MAX] for cell in row[:-1]), row[-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _whole(one: KeptEvent | Quarantined) -> str:
    fields = attrs.asdict(one)
    width = max(map(len, fields))
    return "\n".join(f"{name:<{width}}  {_text(value)}" for name, value in fields.items())


def _amount(filed: Quarantined) -> str:
    if filed.amount is None or filed.currency is None:
        return "-"
    return f"{filed.amount} {filed.currency.upper()}"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return str(value)
