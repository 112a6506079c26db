"""Keeps the tables and answers in the reference the same as what the code does.

A page holds them between two comments::

    <!-- generated: errors -->
    …
    <!-- end -->

The build compares them with the code and warns, as an error, when they differ; running this file
(`make refresh`) writes them anew.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs
import click

from credit_payments import connect, errors
from credit_payments.cli.commands import commands
from credit_payments.config import NAMES_IN_SOURCES, Settings
from credit_payments.domain.events import READ
from credit_payments.domain.records import RECORDS, Record
from credit_payments.http import ROUTES, Api, Identity, Request
from credit_payments.testing.simulator import StripeSimulator

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_PART = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refreshed(page: str) -> str:
    """The page with its generated parts as the code would have them."""
    return _PART.sub(lambda part: f"{part[1]}\n{_PARTS[part['name']]()}\n{part[3]}", page)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _first_sentence(subject: object) -> str:
    text = inspect.getdoc(subject) or ""
    return " ".join(text.partition("\n\n")[0].replace("``", "`").split())


# --- errors -----------------------------------------------------------------------------------


def _errors() -> str:
    return _table(
        ("Error", "`code`", "HTTP", "Retry", "When"),
        (
            (
                f"{'· ' * depth}`{kind.__name__}`",
                f"`{kind.code}`",
                str(kind.http_status),
                "yes" if kind.retryable else "no",
                _first_sentence(kind),
            )
            for kind, depth in _walk(errors.CreditPaymentsError, 0)
        ),
    )


def _walk(
    kind: type[errors.CreditPaymentsError], depth: int
) -> Iterator[tuple[type[errors.CreditPaymentsError], int]]:
    yield kind, depth
    for child in kind.__subclasses__():
        if child.__name__ in errors.__all__:
            yield from _walk(child, depth + 1)


# --- settings ---------------------------------------------------------------------------------


def _settings() -> str:
    meanings = _argument_meanings(Settings)
    return _table(
        ("Setting", "Default", "Environment variable", "Meaning"),
        (
            (
                f"`{field.name}`",
                _default(field.default),
                f"`{NAMES_IN_SOURCES[field.name].upper()}`"
                if field.name in NAMES_IN_SOURCES
                else "",
                meanings[field.name],
            )
            for field in attrs.fields(Settings)
        ),
    )


def _default(value: object) -> str:
    return "two packages" if isinstance(value, tuple) and value else f"`{value!r}`"


def _argument_meanings(subject: object) -> dict[str, str]:
    """What the Args section of a docstring says about each argument."""
    flags = re.DOTALL | re.MULTILINE
    section = re.findall(r"^Args:\n(.*?)(?=^\S)", inspect.getdoc(subject) or "", flags)[0]
    found = re.findall(r"^(\w+): (.*?)(?=^\w|\Z)", textwrap.dedent(section), flags)
    return {name: " ".join(text.split()) for name, text in found}


# --- events and rows --------------------------------------------------------------------------


def _events() -> str:
    return _table(
        ("Event type", "Read as"),
        ((f"`{name}`", kind.__name__.removesuffix("Facts")) for name, kind in READ.items()),
    )


def _database() -> str:
    return "\n".join(map(_record, RECORDS))


def _record(kind: type[Record]) -> str:
    hints = get_type_hints(kind)
    rows = []
    for name in kind.__struct_fields__:
        notes = ["key"] if name == kind.KEY else []
        notes += ["changes"] if name in kind.MUTABLE else []
        rows.append((f"`{name}`", _column_type(hints[name]), ", ".join(notes)))
    listed = [f"unique: `{', '.join(columns)}`" for columns in kind.UNIQUE]
    listed += [f"index: `{', '.join(columns)}`" for columns in kind.INDEXES]
    listed += [
        f"index of those whose `{column}` ever comes: `{', '.join(columns)}`"
        for column, columns in kind.SPARSE
    ]
    table = _table(("Column", "Type", ""), rows)
    tail = f"\n{'; '.join(listed)}\n" if listed else ""
    return f"### `{kind.TABLE}`\n\n{_first_sentence(kind)}\n\n{table}{tail}"


def _tables() -> str:
    names = ", ".join(f"`{kind.TABLE}`" for kind in RECORDS)
    listed = f"{names} and `credit_payments_migrations`."
    return textwrap.fill(listed, 104, break_long_words=False, break_on_hyphens=False) + "\n"


def _rights() -> str:
    """What a role needs in PostgreSQL to serve, once another has migrated."""
    tables = ", ".join(kind.TABLE for kind in RECORDS)
    grants = [
        "GRANT SELECT ON credit_payments_migrations TO shop;",
        f"GRANT SELECT, INSERT ON {tables} TO shop;",
    ]
    grants += [
        f"GRANT UPDATE ({', '.join(kind.MUTABLE)}) ON {kind.TABLE} TO shop;"
        for kind in RECORDS
        if kind.MUTABLE
    ]
    lines = "\n".join(
        textwrap.fill(grant, 98, subsequent_indent="  ", break_long_words=False) for grant in grants
    )
    return f"```sql\n{lines}\n```\n"


def _column_type(hint: object) -> str:
    names: dict[object, str] = {
        str: "text",
        int: "integer",
        str | None: "text or null",
        int | None: "integer or null",
    }
    return names[hint]


# --- the command line -------------------------------------------------------------------------


def _cli() -> str:
    context = click.Context(commands, info_name="credit-payments")
    parts = [_help(context, "credit-payments")]
    for name, command in sorted(commands.commands.items()):
        child = click.Context(command, info_name=name, parent=context)
        parts.append(_help(child, f"credit-payments {name}"))
    return "\n".join(parts)


def _help(context: click.Context, title: str) -> str:
    # A fixed width, for click would take the terminal's.
    context.terminal_width = context.max_content_width = 90
    return f"## `{title}`\n\n```none\n{context.get_help()}\n```\n"


# --- HTTP -------------------------------------------------------------------------------------

_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_USER = "user123"
# As text, for json would drop a zero.
_SALE = f'''{{
  "user_id": "{_USER}",
  "amount": 10.00,
  "currency": "usd"
}}'''
_EVENT = """Stripe-Signature: t=1893456000,v1=…

{"id": "evt_…", "type": "payment_intent.succeeded", …}"""


@attrs.frozen
class _StandingClock:
    def now(self) -> datetime:
        return _NOW


def _http() -> str:
    """Ask all endpoints, over the simulator, and show what was said."""
    with (
        StripeSimulator(seed=1, start_time=_NOW) as simulator,
        connect(
            database="memory://",
            clock=_StandingClock(),
            stripe_secret_key=simulator.secret_key,
            stripe_webhook_secret=simulator.webhook_secret,
            stripe_api_base=simulator.url,
        ) as system,
    ):
        return "\n".join(_Conversation(simulator, Api(system)).run())


class _Conversation:
    """One customer's way through all of the endpoints."""

    def __init__(self, simulator: StripeSimulator, api: Api) -> None:
        self._simulator = simulator
        self._api = api

    def run(self) -> Iterator[str]:
        intent, said = self._ask("create_payment_intent", _SALE)
        yield said
        intent_id = intent["payment_intent_id"]
        self._simulator.pay(intent_id)
        yield self._ask("confirm_payment", _json(payment_intent_id=intent_id))[1]
        yield self._ask("credit_packages")[1]
        yield self._ask("payment_status", payment_intent_id=intent_id)[1]
        person = _json(user_id=_USER, email="ada@example.com", name="Ada", phone="+15550100")
        customer, said = self._ask("create_customer", person)
        yield said
        customer_id = customer["customer_id"]
        yield self._ask("get_customer", customer_id=customer_id)[1]
        attached = self._attach_card(customer_id)
        yield self._ask("list_payment_methods", query=f"customer_id={customer_id}")[1]
        yield self._ask("get_payment_method", payment_method_id=attached)[1]
        yield self._webhook(intent_id)
        refund = _json(payment_intent_id=intent_id, reason="requested_by_customer")
        yield self._ask("refund", refund)[1]
        yield self._ask("balance")[1]
        yield self._ask("transactions", query="limit=2")[1]

    def _attach_card(self, customer_id: str) -> str:
        import stripe  # noqa: PLC0415 - the SDK is slow to load

        client = stripe.StripeClient(
            self._simulator.secret_key, base_addresses={"api": self._simulator.url}
        )
        method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer_id})
        return str(method.id)

    def _ask(
        self, name: str, body: str = "", query: str = "", **path: str
    ) -> tuple[dict[str, Any], str]:
        headers = {"content-type": "application/json"} if body else {}
        return self._send(name, body, headers, query, path)

    def _webhook(self, intent_id: str) -> str:
        paid = self._simulator.peek("payment_intents", intent_id)
        body = self._simulator.build_event("payment_intent.succeeded", paid).decode()
        headers = {"stripe-signature": self._simulator.sign(body.encode())}
        return self._send("webhook", body, headers, "", {}, shown=_EVENT)[1]

    def _send(
        self,
        name: str,
        body: str,
        headers: dict[str, str],
        query: str,
        path: dict[str, str],
        shown: str | None = None,
    ) -> tuple[dict[str, Any], str]:
        route = next(route for route in ROUTES if route.name == name)
        request = Request(
            method=route.method,
            path_params=path,
            query=query.encode(),
            headers=headers,
            body=body.encode(),
        )
        by_operator = name == "refund"
        caller_id = Identity("operator", operator=True) if by_operator else _USER
        response = self._api.handle(route, request, caller_id)
        if response.status != 200:  # noqa: PLR2004
            raise RuntimeError(f"{name}: {response.body!r}")
        caller = "the signed-in user" if route.needs_caller else "anybody"
        if by_operator:
            caller = "an operator"
        if name == "webhook":
            caller = "Stripe, by its signature"
        if shown is None:
            shown = f"Content-Type: application/json\n\n{body}" if body else ""
        target = f"/stripe{route.path.format(**path)}{'?' + query if query else ''}"
        said = (
            f"### {route.summary}\n\nMay call: {caller}.\n\n"
            f"```http\n{route.method} {target} HTTP/1.1\n{shown}".rstrip()
            + f"\n```\n\n```json\n{_pretty(response.body)}\n```\n"
        )
        return json.loads(response.body), said


def _json(**fields: str) -> str:
    return json.dumps(fields, indent=2)


def _pretty(body: bytes) -> str:
    """Indented, with every number written as it was sent: 10.00 keeps its zeros."""
    plain = json.loads(body, parse_float=lambda text: f"\0{text}\0")
    return re.sub(r'"\\u0000(.*?)\\u0000"', r"\1", json.dumps(plain, indent=2))


_PARTS: dict[str, Callable[[], str]] = {
    "errors": _errors,
    "settings": _settings,
    "events": _events,
    "database": _database,
    "rights": _rights,
    "tables": _tables,
    "http": _http,
    "cli": _cli,
}


def _compare(_: Sphinx, page: str, source: list[str]) -> None:
    from sphinx.util import logging  # noqa: PLC0415 - `make refresh` needs no Sphinx

    if refreshed(source[0]) != source[0]:
        logging.getLogger(__name__).warning(
            "%s does not say what the code does: run `make refresh`", page, location=page
        )


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _compare)
    return {"parallel_read_safe": True}


def main() -> None:
    for path in sorted(Path(__file__).parents[1].rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"refreshed {path}\n")


if __name__ == "__main__":
    main()
