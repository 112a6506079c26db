"""One payment, told of by signed webhooks in any order; and what must be there afterwards.

`expected` is a second opinion: it shares no code with what it judges.
"""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import attrs
import msgspec

import credit_payments as cp
from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import audit
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import (
    Dispute,
    FailedPayment,
    Incident,
    Lot,
    Payment,
    Purchase,
    Quote,
    Wallet,
)
from credit_payments.domain.stripe_facts import PaymentIntentFacts
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue
from credit_payments.webhooks import WebhookProcessor

Json = dict[str, Any]

SECRET = "whsec_test_only"
NOW = 1_704_067_200
"""2024 begins."""
PAID, CREDITS = 1_000, 100
PART_1, PART_2 = 333, 300
OLD, CURRENT = "2023-10-16", "2026-10-28.endive"
"""Stripe's API versions. Before 2024-10-28 refunds of charges had no `refund.…` events."""

SUCCESS, FAILURE, LINK = "success", "payment_failed", "link"
REFUND_1, REFUND_2 = "refund part 1", "refund part 2"
REFUND_2_PENDING, REFUND_2_FAILS = "refund part 2 pending", "refund part 2 fails"
OPENED, UPDATED, WITHDRAWN, REINSTATED, CLOSED = (
    "dispute created",
    "dispute updated",
    "dispute funds_withdrawn",
    "dispute funds_reinstated",
    "dispute closed",
)
CHARGE_1, CHARGE_2 = "charge after refund 1", "charge after refund 2"
REFUNDS = (REFUND_1, REFUND_2, REFUND_2_FAILS)
CHARGES = {CHARGE_1: PART_1, CHARGE_2: PART_1 + PART_2}
"""What the charge says was refunded of it in all."""
DISPUTE = (OPENED, WITHDRAWN, REINSTATED, CLOSED)
SPARSE = tuple(f"{message}, sparse" for message in DISPUTE)
"""The same, where the object does not show its balance transactions."""

# -- what Stripe sends ------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Case:
    """One story of a payment; its messages may come in any order.

    Args:
        end: how the dispute ends.
        closes_first: it is closed before its funds are reinstated, else after.
        disputed: its amount.
        moved: how much left the account and came back, if it is kept in another currency.
        generation: Stripe's API version.
        linked: the payment is recorded before anything is told.
        spent: so many credits were spent right after the payment had succeeded.
        policies: for what is to be taken back and is not there.
    """

    end: str = "won"
    closes_first: bool = False
    disputed: int = PAID
    moved: tuple[int, int] | None = None
    generation: str = CURRENT
    linked: bool = True
    spent: int = 0
    policies: Policies = attrs.field(factory=Policies)

    def status_at(self, message: str) -> str:
        """How the dispute stands when Stripe tells of it."""
        if message == CLOSED or (message == REINSTATED and self.closes_first):
            return self.end
        if message == REINSTATED:
            return "won" if self.end == "won" else "under_review"
        return "under_review" if message == UPDATED else "needs_response"

    def moved_at(self, message: str) -> tuple[str, ...]:
        """What the object shows then of its balance transactions."""
        if message == OPENED:
            return ()
        is_back = message == REINSTATED or (
            message == CLOSED and self.end == "won" and not self.closes_first
        )
        return ("txn_out", "txn_back") if is_back else ("txn_out",)

    def told_by(self, message: str) -> set[str]:
        """What is known of the disputed funds from one message alone."""
        name, sparse = plain(message)
        if not sparse:
            return set(self.moved_at(name))
        told = {WITHDRAWN: {"txn_out"}, REINSTATED: {"txn_back"}}.get(name, set())
        return told | ({"txn_out"} if self.status_at(name) == "lost" else set())

    def event(self, message: str) -> tuple[str, Json]:
        """Type and object of an event."""
        if message == SUCCESS:
            return "payment_intent.succeeded", intent("succeeded")
        if message == FAILURE:
            return "payment_intent.payment_failed", intent("requires_payment_method", failed=True)
        if message.startswith("dispute"):
            name, sparse = plain(message)
            return f"charge.{name.replace(' ', '.')}", self._dispute(name, sparse=sparse)
        if message in CHARGES:
            return "charge.refunded", charge(CHARGES[message])
        number, amount = (1, PART_1) if message == REFUND_1 else (2, PART_2)
        status = {REFUND_2_PENDING: "pending", REFUND_2_FAILS: "failed"}.get(message, "succeeded")
        types = {REFUND_2_PENDING: "refund.created", REFUND_2_FAILS: "refund.failed"}
        event_type = types.get(message, "refund.updated")
        if self.generation == OLD:
            event_type = "charge.refund.updated"
        return event_type, refund(f"re_{number}", amount, status)

    def _dispute(self, name: str, *, sparse: bool) -> Json:
        out, back = self.moved or (self.disputed, self.disputed)
        moved, currency = {"txn_out": -out, "txn_back": back}, "eur" if self.moved else "usd"
        shown: list[Any] = [movement(txn, moved[txn], currency) for txn in self.moved_at(name)]
        fields: Json = {} if self.generation == OLD else {"enhanced_eligibility_types": []}
        if not sparse:
            fields["balance_transactions"] = shown
        elif name == CLOSED:
            fields["balance_transactions"] = [one["id"] for one in shown]
        return dispute(self.status_at(name), amount=self.disputed, **fields)


def plain(message: str) -> tuple[str, bool]:
    """The message without its suffix, and whether it had one."""
    return message.removesuffix(", sparse"), message.endswith(", sparse")


def intent(status: str, *, failed: bool = False, **given: Any) -> Json:
    fields = {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": PAID,
        "amount_received": PAID if status == "succeeded" else 0,
        "currency": "usd",
        "created": NOW,
        "metadata": {"user_id": "ada", "quote_id": "quote_1"},
        "status": status,
    }
    if failed:
        error = {"type": "card_error", "code": "card_declined", "message": "No.", "charge": "ch_0"}
        fields |= {"last_payment_error": error, "latest_charge": "ch_0"}
    return fields | given


def refund(name: str, amount: int, status: str = "succeeded", **given: Any) -> Json:
    fields = {
        "id": name,
        "object": "refund",
        "amount": amount,
        "charge": "ch_1",
        "currency": "usd",
        "payment_intent": "pi_1",
        "reason": "requested_by_customer",
        "status": status,
    }
    return fields | given


def charge(amount_refunded: int, **given: Any) -> Json:
    fields = {
        "id": "ch_1",
        "object": "charge",
        "amount": PAID,
        "amount_refunded": amount_refunded,
        "created": NOW,
        "currency": "usd",
        "payment_intent": "pi_1",
        "refunded": amount_refunded == PAID,
        "status": "succeeded",
    }
    return fields | given


def movement(name: str, amount: int, currency: str = "usd") -> Json:
    fee = 1_500 if amount < 0 else 0
    return {
        "id": name,
        "object": "balance_transaction",
        "amount": amount,
        "currency": currency,
        "fee": fee,
        "net": amount - fee,
        "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
        "type": "adjustment",
    }


def dispute(status: str, **given: Any) -> Json:
    fields = {
        "id": "dp_1",
        "object": "dispute",
        "amount": PAID,
        "charge": {"id": "ch_1", "object": "charge"},
        "created": NOW,
        "currency": "usd",
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": status,
    }
    return fields | given


def signed(event_id: str, event_type: str, fields: Json, version: str) -> tuple[bytes, str]:
    event = {
        "id": event_id,
        "object": "event",
        "api_version": version,
        "created": NOW,
        "data": {"object": fields},
        "livemode": False,
        "type": event_type,
    }
    body = json.dumps(event).encode()
    digest = hmac.new(SECRET.encode(), b"%d." % NOW + body, "sha256").hexdigest()
    return body, f"t={NOW},v1={digest}"


@cache
def delivery(case: Case, message: str, copy: int) -> tuple[bytes, str]:
    """A message. Its copy 1 is the same event again, copy 2 another event about the same."""
    name = "".join(char if char.isalnum() else "_" for char in message)
    suffix = "_again" if copy == 2 else ""
    return signed(f"evt_{name}{suffix}", *case.event(message), case.generation)


# -- what must be there -----------------------------------------------------------------------


@cache
def expected(case: Case, told: frozenset[str]) -> Json:
    """The end, from the set of what was told, without any order."""
    disputes = {message for message in told if message.startswith("dispute")}
    is_known = case.linked or bool(told & {SUCCESS, FAILURE, LINK})
    is_filed = not is_known and bool(disputes or told & {*REFUNDS, REFUND_2_PENDING, *CHARGES})
    granted = CREDITS if SUCCESS in told else 0

    refunded = PART_1 if REFUND_1 in told else 0
    if told & {REFUND_2, REFUND_2_PENDING} and REFUND_2_FAILS not in told:
        refunded += PART_2
    by_charge = max((CHARGES[message] for message in told & {*CHARGES}), default=0)
    if REFUND_2_FAILS in told:
        by_charge -= PART_2
    refunded = max(refunded, by_charge)
    moved = {txn for message in disputes for txn in case.told_by(message)}
    withdrawn = case.disputed if moved == {"txn_out"} else 0
    statuses = {case.status_at(plain(message)[0]) for message in disputes}
    is_locked = bool(granted and statuses and not withdrawn and not statuses & {"won", "lost"})

    taken = granted * min(PAID, refunded + withdrawn) // PAID
    left = granted - case.spent - taken
    has = max(0, left)
    missing = missing_by_policy(case, granted * refunded // PAID, max(0, -left))
    stages = ("needs_response", "under_review", "lost", "won")
    return {
        "available": 0 if is_locked else has,
        "frozen": has if is_locked else 0,
        "debt": missing[Policy.DEBT] + missing[Policy.FREEZE],
        "written off": missing[Policy.CLAMP],
        "credited": granted,
        "refunded": granted * refunded // PAID,
        "disputed": taken - granted * refunded // PAID,
        "locked": is_locked,
        "payments": int(is_known),
        "purchases": int(bool(granted)),
        "failures": int(FAILURE in told),
        "open incidents": int(is_filed),
        "dispute": max(statuses, key=stages.index) if statuses else None,
        "must be stopped": missing[Policy.FREEZE] > 0,
    }


def missing_by_policy(case: Case, refunded: int, missing: int) -> dict[Policy, int]:
    """What is missing by the policy that it falls under.

    The refunds took first, of what was not spent; what a dispute took then may be missing whole.
    """
    of_refunds = max(0, refunded - (CREDITS - case.spent))
    parts = dict.fromkeys(Policy, 0)
    parts[case.policies.refund] += of_refunds
    parts[case.policies.dispute] += missing - of_refunds
    return parts


@attrs.define
class Clock:
    """Stands still until it is turned."""

    instant: datetime = datetime(2024, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def turn(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


class Books:
    """A wallet, a quote of 100 credits for it, and what Stripe tells about that payment."""

    def __init__(
        self,
        case: Case | None = None,
        *,
        storage: Storage | None = None,
        lasts: int | None = None,
        quoted: bool = True,
    ) -> None:
        self.case = case = case or Case()
        self.storage: Storage = storage or MemoryStorage()
        self.clock = Clock()
        self.queue = PostingQueue(self.storage, self.clock, sleep=lambda seconds: None)
        self.webhooks = WebhookProcessor(
            self.queue,
            self.clock,
            secrets=[SECRET],
            tolerance_seconds=10**9,
            policies=case.policies,
        )
        self.wallets = cp.Wallets(self.storage, self.queue, self.clock)
        self._events = 0
        if not quoted:
            return
        quote = Quote(
            quote_id="quote_1", user_id="ada", amount_minor=PAID, currency="usd", credits=CREDITS,
            package_id=None, customer_id=None, rule="rate", expires_seconds=lasts, fingerprint="f",
            payment_intent_id=None, created_at="",
        )  # fmt: skip
        self.queue.submit(KeepQuote(quote=quote))
        if case.linked:
            self.link()

    def link(self) -> None:
        facts = msgspec.convert(intent("requires_payment_method"), PaymentIntentFacts)
        self.queue.submit(LinkIntent(quote_id="quote_1", facts=facts))

    def tell(self, message: str, copy: int = 0) -> str:
        """Deliver a message; what became of it."""
        if message == LINK:
            self.link()
            return "linked"
        return self.webhooks.receive(*delivery(self.case, message, copy)).outcome

    def deliver(self, event_type: str, fields: Json, *, version: str = CURRENT) -> str:
        """Deliver any event under a new id; what became of it."""
        self._events += 1
        event = signed(f"evt_{self._events}", event_type, fields, version)
        return self.webhooks.receive(*event).outcome

    def pay(self, *, spent: int = 0) -> None:
        self.tell(SUCCESS)
        if spent:
            self.wallets.spend("ada", spent, key="spent")

    def refund(self, name: str, amount: int, status: str = "succeeded") -> None:
        self.deliver("refund.updated", refund(name, amount, status))

    def state(self) -> Json:
        wallet = self.storage.get(Wallet, "ada") or Wallet("ada")
        paid, kept = self.storage.get(Payment, "pi_1"), self.storage.get(Dispute, "dp_1")
        lot = self.storage.get(Lot, "payment:pi_1")
        return {
            "available": wallet.available,
            "frozen": wallet.frozen,
            "debt": wallet.debt,
            "written off": lot.written_off if lot else 0,
            "credited": paid.credited if paid else 0,
            "refunded": paid.refunded_credits if paid else 0,
            "disputed": paid.disputed_credits if paid else 0,
            "locked": bool(paid and paid.locked),
            "payments": len(self._rows(Payment)),
            "purchases": len(self._rows(Purchase)),
            "failures": len(self._rows(FailedPayment)),
            "open incidents": sum(filed.status == "open" for filed in self._rows(Incident)),
            "dispute": kept.status if kept else None,
        }

    def check_state(self, told: frozenset[str], context: object) -> None:
        """The state is what follows from what was told.

        Whether the wallet is stopped follows from it in one direction alone: what had to stop it
        once may have come back since, and yet somebody has to resume it.
        """
        awaited = dict(expected(self.case, told))
        must_be_stopped = awaited.pop("must be stopped")
        assert self.state() == awaited, context
        wallet = self.storage.get(Wallet, "ada")
        assert not must_be_stopped or (wallet and wallet.suspended), context
        if wallet and Policy.FREEZE not in {self.case.policies.refund, self.case.policies.dispute}:
            assert not wallet.suspended, context

    def facts(self) -> Any:
        """What is known of the payment, and where it was taken back: no order may show in it."""
        paid = self.storage.get(Payment, "pi_1")
        if paid is None:
            return None
        taken: dict[str, int] = {}
        lot = self.storage.get(Lot, "payment:pi_1")
        stand_ins = json.loads(lot.covered_by or "[]") if lot else []
        for place, credits in [*json.loads(paid.clawback).get("takes", ()), *stand_ins]:
            taken[place] = taken.get(place, 0) + credits
        return paid.status, paid.received_minor, paid.refunds, paid.disputes, taken

    def verify(self) -> None:
        rows: Any = (self.storage.scan(kind, order=order) for kind, order in audit.ORDERS.items())
        report = audit.verify(*rows)
        assert report.ok, report.problems
        paid = self.storage.get(Payment, "pi_1")
        if paid is not None:
            sums = [report.trial_balance.get(name, 0) for name in ("refunds", "disputes")]
            assert sums == [paid.refunded_credits, paid.disputed_credits]

    def check(self, **given: int) -> None:
        """The balance, all that is not given being nothing; and that the ledger is sound."""
        balance = self.wallets.balance("ada")
        found = {name: getattr(balance, name) for name in ("available", "held", "frozen", "debt")}
        assert found == {"available": 0, "held": 0, "frozen": 0, "debt": 0} | given
        self.verify()

    def save(self) -> Any:
        assert isinstance(self.storage, MemoryStorage)
        rows = {kind: dict(table) for kind, table in self.storage._rows.tables.items()}
        return rows, set(self.storage._unique)

    def put_back(self, saved: Any) -> None:
        assert isinstance(self.storage, MemoryStorage)
        rows, unique = saved
        self.storage._rows.tables = {kind: dict(table) for kind, table in rows.items()}
        self.storage._unique = set(unique)

    def _rows(self, kind: Any) -> list[Any]:
        return list(self.storage.scan(kind, order=(kind.KEY,)))
