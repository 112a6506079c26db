"""Secrets and personal data through every error path that can be reached: found nowhere.

A shop whose every secret is known beforehand sells, fails and is attacked. Whatever leaves it is
looked through: log records of all loggers, answers, exceptions, reprs, pickles, health, command
line, metrics, dumps, and what the database holds.
"""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from click.testing import CliRunner
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from tests.support.canaries import MARK, PERSON, SECRETS, Finder, finding, unheard
from tests.support.watched_shop import (
    EVERYTHING,
    HOSTS,
    Broken,
    EchoingStripe,
    Shop,
    Users,
    be_rude,
    look_into_the_database,
)

import credit_payments as cp
from credit_payments.adapters.opentelemetry import OpenTelemetry
from credit_payments.adapters.prometheus import Prometheus
from credit_payments.cli.commands import commands
from credit_payments.ports.telemetry import Several
from credit_payments.testing.simulator import StripeSimulator

# -- what happens to the shop ------------------------------------------------------------------


def sell(shop: Shop) -> None:
    status, content = shop.register(**{"Idempotency-Key": "register-1"})
    assert status == 200, content
    customer = json.loads(content)["customer_id"]
    assert shop.register(**{"Idempotency-Key": "register-1"})[0] == 200
    assert shop.ask("GET", f"/stripe/customers/{customer}", may_show=tuple(PERSON))[0] == 200
    assert shop.ask("GET", f"/stripe/customers/{customer}", user="eve")[0] == 404
    assert shop.offer(**{"Idempotency-Key": "offer-1"})[0] == 200
    assert shop.offer(**{"Idempotency-Key": "offer-1"})[0] == 200
    intent = shop.intents[0]
    paid = shop.stripe.pay(intent)
    paid |= {"receipt_email": PERSON["email"], "shipping": dict(PERSON), "description": EVERYTHING}
    paid["metadata"] |= {"note": EVERYTHING}
    assert shop.webhook(shop.stripe.build_event("payment_intent.succeeded", paid))[0] == 200
    confirm = {"payment_intent_id": intent}
    assert shop.ask("POST", "/stripe/confirm-payment", confirm)[0] == 200
    for path in ("payment-status/" + intent, "balance", "transactions", "payment-methods"):
        shop.ask("GET", f"/stripe/{path}")
    shop.ask("POST", "/stripe/refunds", {"payment_intent_id": intent, "amount": 1})
    changed = {"id": customer, "object": "customer", **PERSON, "metadata": {"note": EVERYTHING}}
    assert shop.webhook(shop.stripe.build_event("customer.updated", changed))[0] == 200
    [found] = shop.system.payments.customers_by_email(PERSON["email"])
    assert found.email == PERSON["email"]
    shop.finder.add("reprs", f"{found!r} {shop.system.payments.get_customer(customer)!r}")


def decline(shop: Shop) -> None:
    shop.offer()
    failed = shop.stripe.pay(shop.intents[-1], "pm_card_chargeDeclined")
    failed["last_payment_error"]["payment_method"] = {"billing_details": PERSON}
    failed["receipt_email"] = PERSON["email"]
    event = shop.stripe.build_event("payment_intent.payment_failed", failed)
    assert shop.webhook(event)[0] == 200
    shop.ask("POST", "/stripe/confirm-payment", {"payment_intent_id": shop.intents[-1]})


def fail_as_stripe_fails(shop: Shop) -> None:
    faults = shop.stripe.faults
    for status in (400, 401, 402, 403, 404, 409, 429, 500, 503):
        faults.next(status, times=100)
        assert shop.register()[0] != 200
        assert shop.offer()[0] != 200
        shop.attempt(lambda: shop.system.payments.create_customer("ada", **PERSON))
        shop.attempt(lambda: shop.system.payments.confirm_payment(shop.intents[0]))
        faults.clear()
    for plan in (faults.lose_reply, lambda times: faults.timeout(2.0, times=times)):
        plan(times=2)
        assert shop.register()[0] == 503
        faults.clear()


def talk_to_somebody_else(shop: Shop, given: dict[str, Any]) -> None:
    """What answers in Stripe's place quotes everything that it was sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EchoingStripe) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        given = given | {"database": "memory://", "stripe_api_base": base}
        with cp.connect(**given) as system:
            other = attrs.evolve(shop, system=system, send=HOSTS["flask"](system, Prometheus()))
            for status in (200, 400, 401, 403, 404, 409, 429, 500):
                EchoingStripe.status = status
                for kind in ("html", "list", "object", "email", "metadata[note]", "amount"):
                    EchoingStripe.kind = kind
                    assert other.register()[0] != 200
                    other.attempt(lambda: system.payments.create_customer("ada", **PERSON))
                    other.attempt(lambda: system.payments.create_payment_intent("ada", 10))
        server.shutdown()
        thread.join(10)


def send_bad_webhooks(shop: Shop) -> None:
    event = shop.stripe.build_event(
        "customer.updated", {"id": "cus_1", "object": "customer", **PERSON}
    )
    quoting = json.dumps({"id": EVERYTHING, **PERSON}).encode()
    assert shop.webhook(event, "")[0] == 400
    assert shop.webhook(event, f"t=1,v1={EVERYTHING}")[0] == 400
    assert shop.webhook(event, shop.stripe.sign(event, "whsec_other"))[0] == 400
    for body in (
        b"",
        quoting,
        quoting[:-1],
        quoting.replace(b"cAnAry", b"\xff" + MARK.encode()),
        b"[" * 500 + quoting,
        quoting + b" " * (1 << 20),
        shop.stripe.build_event("payment_intent.succeeded", {"object": EVERYTHING}),
        event.replace(b'"livemode": false', b'"livemode": true'),
    ):
        assert shop.webhook(body)[0] in (200, 400)
        shop.attempt(partial(shop.system.webhooks.receive, body, shop.stripe.sign(body)))


def ask_nonsense(shop: Shop) -> None:
    """Personal data in the wrong place: an error may name a parameter, and quotes no value."""
    for wrong in (
        {"email": EVERYTHING},
        {"name": [EVERYTHING]},
        {"phone": {"$ne": EVERYTHING}},
        {"user_id": EVERYTHING},
    ):
        shop.ask("POST", "/stripe/customers", {"user_id": "ada", **PERSON, **wrong})
    quoted = quote(EVERYTHING, safe="")
    for query in (f"cursor={quoted}", f"limit={quoted}", f"type={quoted}", f"user_id={quoted}"):
        shop.ask("GET", f"/stripe/transactions?{query}")
    shop.ask("GET", f"/stripe/payment-status/{quoted}")
    shop.ask("POST", "/stripe/confirm-payment", {"payment_intent_id": EVERYTHING})
    wallets: Any = shop.system.wallets
    for call in (
        lambda: wallets.spend("ada", EVERYTHING, key="k"),
        lambda: wallets.spend("ada", 1, key=EVERYTHING * 10),
        lambda: wallets.history("ada", cursor=EVERYTHING),
        lambda: shop.system.payments.create_customer("ada", PERSON["email"] + "\0"),
        lambda: cp.Settings(database=EVERYTHING, stripe_secret_key=EVERYTHING),
        lambda: cp.connect(database="memory://", stripe_secret_key=f"{SECRETS['secret key']} "),
        lambda: cp.connect(database="memory://", encryption_keys=EVERYTHING),
        lambda: cp.connect(database="memory://", stripe_webhook_secret=[EVERYTHING, ""]),
        lambda: cp.connect(database="memory://", vault_url=EVERYTHING, vault_required=True),
    ):
        assert isinstance(shop.attempt(call), Exception)


def meet_a_rude_host(shop: Shop) -> None:
    assert shop.offer("rude")[0] == 500
    shop.system.webhooks.on("plan.created")(be_rude)
    shop.system.on("payment.fraud_warned")(be_rude)
    event = shop.stripe.build_event("plan.created", {"object": "plan", "note": EVERYTHING})
    assert shop.webhook(event)[0] in (200, 503)  # inline the handler has failed already
    shop.attempt(lambda: shop.system.webhooks.receive(event, shop.stripe.sign(event)))
    warned = shop.stripe.warn_of_fraud(shop.intents[0])
    shop.webhook(shop.stripe.build_event("radar.early_fraud_warning.created", warned))
    shop.attempt(shop.system.notifications.deliver)
    shop.system.worker().drain()


def lose_the_encryption_keys(shop: Shop, given: dict[str, Any]) -> None:
    other_key = "kx:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="
    with cp.connect(**given | {"encryption_keys": other_key}) as system:
        failure = shop.attempt(lambda: system.payments.customers_by_email(PERSON["email"]))
        assert isinstance(failure, cp.DecryptionFailed)
        shop.attempt(system.rotate_encryption)


def be_watched(shop: Shop, metrics: Prometheus, reader: InMemoryMetricReader) -> None:
    for path in ("stripe/health", "transactions/health", "stripe/metrics"):
        assert shop.ask("GET", f"/modules/{path}")[0] == 200
    health = shop.system.health()
    shop.finder.add("health", f"{health} {health!r} {json.dumps(health.as_dict())}")
    shop.finder.add("metrics", metrics.text())
    measured = reader.get_metrics_data()
    assert measured is not None
    shop.finder.add("metrics", measured.to_json())
    dump = io.BytesIO()
    shop.system.export(dump)
    shop.finder.add("dumps", dump.getvalue())
    assert shop.finder.objects(shop.system) > 50
    now = datetime.now(UTC)
    shop.stripe.faults.next(500, times=2)
    shop.attempt(lambda: shop.system.reconcile(since=now - timedelta(days=1)))
    shop.finder.add("reports", f"{shop.system.verify()!r} {shop.system.report().to_csv()}")
    for status in ("due", "done", "dead", "discarded"):
        shop.finder.add("reports", repr(shop.system.events.list(status)))
    shop.finder.add("reports", repr(shop.system.events.quarantine()))


def use_the_command_line(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "STRIPE_SECRET_KEY": SECRETS["secret key"],
        "STRIPE_WEBHOOK_SECRET": SECRETS["webhook secret"],
        "STRIPE_API_BASE": shop.stripe.url,
        "CREDIT_PAYMENTS_DATABASE_URL": shop.database,
        "CREDIT_PAYMENTS_ENCRYPTION_KEYS": f"k1:{SECRETS['encryption key']}",
        "CREDIT_PAYMENTS_ENCRYPTION_INDEX_KEY": SECRETS["index key"],
    }.items():
        monkeypatch.setenv(name, value)
    lines = [
        "health", "health --json", "events list", "events list --json", "audit verify --json",
        "report", "encryption rotate --dry-run --json", "doctor", "doctor --json", "export -",
        "events show evt_missing", "health --database nonsense://x:{password}@y",
        f"import {tmp_path}/nothing.jsonl", "reconcile --since 2099-01-01",
    ]  # fmt: skip
    logger = logging.getLogger("credit_payments")
    level = logger.level
    for line in lines:
        words = [word.format(password=SECRETS["database password"]) for word in line.split()]
        told = CliRunner().invoke(commands, words)
        shop.finder.add("command line", told.output)
        if told.exception is not None and not isinstance(told.exception, SystemExit):
            shop.finder.error(told.exception)
    logger.setLevel(level)


def lose_the_database(shop: Shop, given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "garbage.db").write_bytes(EVERYTHING.encode() * 100)
    password = quote(SECRETS["database password"], safe="")
    place = re.sub(r".*@|.*://", "", shop.database).partition("/")[0]
    urls = {
        "sqlite": [
            f"sqlite:///{tmp_path / 'garbage.db'}",
            f"sqlite:///{tmp_path / 'missing' / 'credits.db'}",
            f"sqlite:///{tmp_path}",
        ],
        "postgresql": [
            f"postgresql://nobody:{password}@{place}/nowhere",
            f"postgresql://nobody:{SECRETS['database password']}@{place}/nowhere",
            f"postgresql://nobody@127.0.0.1:9/nowhere?password={password}&connect_timeout=1",
            f"postgresql://{place}/nowhere?sslpassword={password}&nonsense={password}",
        ],
        "mongodb": [
            f"mongodb://nobody:{password}@{place}/nowhere?serverSelectionTimeoutMS=500",
            f"mongodb://nobody:{SECRETS['database password']}@{place}/nowhere",
        ],
    }[shop.database.partition(":")[0]]
    for url in urls:
        failure = shop.attempt(partial(cp.connect, **given | {"database": url}))
        assert isinstance(failure, cp.CreditPaymentsError), url
    shop.system.close()
    for call in (shop.register, shop.offer, partial(shop.ask, "GET", "/stripe/balance")):
        assert call()[0] == 503
    event = shop.stripe.build_event("plan.created", {"object": "plan", "note": EVERYTHING})
    assert shop.webhook(event)[0] == 503
    assert shop.ask("GET", "/modules/stripe/health")[0] in (200, 503)
    shop.attempt(lambda: shop.system.payments.create_customer("ada", **PERSON))
    shop.finder.objects(shop.system)


def put_one_in_its_way(shop: Shop, given: dict[str, Any], metrics: Prometheus) -> None:
    """So that nothing found means that nothing was there: a mark that is kept is seen."""
    with cp.connect(**given) as system:
        system.wallets.grant("ada", 1, key="planted", reason=MARK)
        seen = attrs.evolve(
            shop, finder=Finder(), system=system, send=HOSTS["flask"](system, metrics)
        )
        seen.ask("GET", "/stripe/transactions")
        dump = io.BytesIO()
        system.export(dump)
        seen.finder.add("dumps", dump.getvalue())
        seen.finder.add("reports", repr(system.wallets.history("ada")))
    look_into_the_database(seen)
    found = {line.partition(":")[0] for line in seen.finder.found}
    assert found == {"answers", "dumps", "reports", "database"}


CHANNELS = {
    "answers", "command line", "database", "dumps", "errors", "health", "logs", "metrics",
    "pickles", "reports", "reprs", "tracebacks",
}  # fmt: skip


def url_of(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    """A database of a kind; with a password where the server has no need of one."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'credits.db'}"
    url: str = request.getfixturevalue(f"{kind}_database")
    password = quote(SECRETS["database password"], safe="")
    return url.replace("postgres@", f"postgres:{password}@")


@pytest.fixture
def finder() -> Iterator[Finder]:
    with finding() as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "webhook_mode", "host"),
    [
        ("sqlite", "inline", "flask"),
        ("postgres", "queued", "fastapi"),
        ("mongo", "inline", "fastapi"),
    ],
)
def test_no_secret_and_nothing_personal_turns_up_anywhere(
    kind: str,
    webhook_mode: str,
    host: str,
    finder: Finder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    database = url_of(request, kind, tmp_path)
    reader, metrics = InMemoryMetricReader(), Prometheus()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with StripeSimulator(
        secret_key=SECRETS["secret key"], webhook_secret=SECRETS["webhook secret"]
    ) as stripe:
        given: dict[str, Any] = {
            "database": database,
            "stripe_secret_key": SECRETS["secret key"],
            "stripe_webhook_secret": SECRETS["webhook secret"],
            "stripe_api_base": stripe.url,
            "stripe_attempts_max": 2,
            "stripe_wait_seconds_max": 0,
            "stripe_timeout_seconds": 0.5,
            "encryption_keys": f"k1:{SECRETS['encryption key']}",
            "encryption_index_key": SECRETS["index key"],
            "deliver_notifications": False,
            "webhook_mode": webhook_mode,
        }
        with cp.connect(
            **given,
            users=Users(),
            jobs=Broken(),
            notifier=Broken(),
            telemetry=Several(metrics, OpenTelemetry(provider), Broken()),
        ) as system:
            metrics.watch(system)
            shop = Shop(finder, stripe, system, HOSTS[host](system, metrics), database)
            sell(shop)
            decline(shop)
            fail_as_stripe_fails(shop)
            talk_to_somebody_else(shop, given)
            send_bad_webhooks(shop)
            ask_nonsense(shop)
            meet_a_rude_host(shop)
            lose_the_encryption_keys(shop, given)
            be_watched(shop, metrics, reader)
            use_the_command_line(shop, monkeypatch, tmp_path)
            lose_the_database(shop, given, tmp_path)
            look_into_the_database(shop)
            with unheard():  # MongoDB's driver tells at DEBUG what it writes
                put_one_in_its_way(shop, given, metrics)
    provider.shutdown()
    assert len(shop.intents) >= 2
    assert set(finder.seen) >= CHANNELS
