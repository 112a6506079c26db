"""Puts the demo on: starts everybody, plays the steps, closes the shop, checks the books."""

from __future__ import annotations

import importlib.util
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import credit_payments as cp
from credit_payments.cli.demo import evidence
from credit_payments.cli.demo.checks import check
from credit_payments.cli.demo.children import Child, ChildFailed, check_all
from credit_payments.cli.demo.exchange import NoAnswer
from credit_payments.cli.demo.report import Console, Outcome
from credit_payments.cli.demo.stage import Browser, Network, Shop, Stage, Stripe, Unexpected
from credit_payments.cli.demo.steps import STEPS

_NEEDS: Final = {"flask": ("flask", "werkzeug"), "fastapi": ("fastapi", "uvicorn")}
_INSTALL: Final = {
    "flask": "pip install 'credit-payments[flask]'",
    "fastapi": "pip install 'credit-payments[fastapi]' uvicorn",
}


def run(*, framework: str, seed: int, as_json: bool) -> int:
    """Run the demo without a browser.

    Args:
        framework: `"flask"` or `"fastapi"`.
        seed: determines amounts and Stripe's ids.
        as_json: print one JSON object instead of telling the story.

    Returns:
        The exit code: 0 only if every step went as documented and every invariant holds.
    """
    missing = [name for name in _NEEDS[framework] if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"The demo needs {' and '.join(missing)}: {_INSTALL[framework]}\n")
        return 1
    started = time.monotonic()
    outcome = Outcome()
    console = Console(quiet=as_json)
    with _stopped_by_signals():
        try:
            with tempfile.TemporaryDirectory(
                prefix="credit-payments-demo-", ignore_cleanup_errors=True
            ) as folder:
                _put_on(framework, seed, Path(folder), console, outcome)
        except ChildFailed as failure:
            outcome.broken.append(str(failure))
            sys.stderr.write(f"{failure}\n{failure.tail}\n".rstrip() + "\n")
        except (NoAnswer, Unexpected, cp.CreditPaymentsError) as failure:
            outcome.broken.append(str(failure))
            sys.stderr.write(f"{failure}\n")
    outcome.seconds = time.monotonic() - started
    if as_json:
        sys.stdout.write(outcome.to_json() + "\n")
    else:
        _conclude(console, outcome)
    return outcome.exit_code


def _put_on(framework: str, seed: int, folder: Path, console: Console, outcome: Outcome) -> None:
    database = folder / "shop.db"
    parts = "credit_payments.cli.demo"
    shop_arguments = ("--framework", framework)
    with (
        Child(
            "simulator", f"{parts}.stripe_app", "--seed", str(seed), folder=folder
        ) as stripe_child,
        Child("shop", f"{parts}.shop_app", *shop_arguments, folder=folder) as shop_child,
    ):
        stage = _set(stripe_child, shop_child, database, random.Random(seed))  # noqa: S311
        console.line(
            f"A {framework} shop at {stage.shop.url}, Stripe simulated at {stage.stripe.url}\n"
        )
        try:
            _play(stage, console, outcome)
            stage.network.settle()
            account = evidence.read_stripe(stage.stripe, stage.network)
        except (NoAnswer, Unexpected):
            # A process that died explains more than the silence it left.
            check_all(shop_child, stripe_child)
            raise
        shop_child.finish()
        books = evidence.read_books(database)
        stripe_child.finish()
    console.ledger(books, account)
    checks = check(account, books, stage.orders, stage.forged)
    console.checks(checks)
    outcome.broken += [f"{each.name}: {problem}" for each in checks for problem in each.problems]
    outcome.count(stage, account, books)


def _set(stripe_child: Child, shop_child: Child, database: Path, chance: random.Random) -> Stage:
    """Introduce everybody to each other, as the owner of a shop does at Stripe's dashboard."""
    simulated, shop_url = stripe_child.first_line(), str(shop_child.first_line()["url"])
    stripe = Stripe(simulated["url"], simulated["secret_key"])
    webhook_secret = stripe.register_webhook(f"{shop_url}/stripe/webhook")
    shop_child.tell(
        {
            "database": evidence.database_url(database),
            "stripe_secret_key": simulated["secret_key"],
            "stripe_publishable_key": simulated["publishable_key"],
            "stripe_webhook_secret": webhook_secret,
            "stripe_api_base": simulated["url"],
            "stripe_api_version": None,
        }
    )
    return Stage(
        shop=Shop(shop_url, webhook_secret),
        browser=Browser(simulated["url"], simulated["publishable_key"]),
        stripe=stripe,
        network=Network(simulated["url"]),
        chance=chance,
    )


def _play(stage: Stage, console: Console, outcome: Outcome) -> None:
    for step in STEPS:
        try:
            console.result(step.title, step.play(stage), ok=True)
        except (Unexpected, LookupError, TypeError, ValueError) as failure:
            # The others are how an answer shows that lacks a documented field.
            told = str(failure) if isinstance(failure, Unexpected) else repr(failure)
            console.result(step.title, told, ok=False)
            outcome.broken.append(f"{step.title}: {told}")


def _conclude(console: Console, outcome: Outcome) -> None:
    counts = outcome.counts
    if outcome.broken:
        console.line(f"\nBROKEN in {outcome.seconds:.1f} seconds:")
        for what in outcome.broken:
            console.line(f"  {what}")
        return
    console.line(
        f"\nEvery invariant holds: {counts['payments']} payments, {counts['credits']:,} credits in "
        f"{counts['wallets']} wallets,\n{counts['webhooks']} webhooks of which "
        f"{counts['duplicates']} were duplicates, in {outcome.seconds:.1f} seconds."
    )


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a signal that ends the demo unwind it first, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), _stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
