"""Reconciliation with a Stripe that is a list: whatever was lost is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_payments.adapters.memory import MemoryStorage
from credit_payments.domain import instants
from credit_payments.domain.differences import Kind, ReconciliationReport
from credit_payments.domain.events import Event
from credit_payments.domain.quoting import KeepQuote, LinkIntent
from credit_payments.domain.records import Checkpoint, Payment, Quote, Wallet
from credit_payments.domain.stripe_facts import (
    ChargeFacts,
    DisputeFacts,
    MovementFacts,
    PaymentIntentFacts,
    RefundFacts,
    ref_id,
)
from credit_payments.errors import InvalidRequest, NotFound, StorageUnavailable
from credit_payments.ports.gateway import Listed
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue
from credit_payments.reconcile import Reconciler, checkpoints
from credit_payments.reconcile.walks import EVENT_TYPES, Pace
from credit_payments.settlement import ReportDispute, ReportPayment, ReportRefund
from credit_payments.verifying import verify

NOW = datetime(2024, 1, 1, tzinfo=UTC)
PAID, CREDITS = 1_000, 7
"""So few credits that a part of the money is often worth none."""
Json = dict[str, Any]


@attrs.define
class Clock:
    instant: datetime = NOW - timedelta(hours=1)

    def now(self) -> datetime:
        return self.instant


@attrs.define
class Lists:
    """A Stripe that has these objects, and gives two a page."""

    intents: list[PaymentIntentFacts] = attrs.field(factory=list)
    refunds: list[RefundFacts] = attrs.field(factory=list)
    disputes: list[DisputeFacts] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    asked: list[tuple[str, Any]] = attrs.field(factory=list)

    def list_payment_intents(self, **asked: Any) -> Listed[PaymentIntentFacts]:
        return self._page("intents", self.intents, asked)

    def list_refunds(self, **asked: Any) -> Listed[RefundFacts]:
        return self._page("refunds", self.refunds, asked)

    def list_disputes(self, **asked: Any) -> Listed[DisputeFacts]:
        return self._page("disputes", self.disputes, asked)

    def list_events(self, *, types: Sequence[str], **asked: Any) -> Listed[Event]:
        assert len(types) <= 20, "Stripe filters by no more at a time"
        return self._page("events", [one for one in self.events if one.type in types], asked)

    def retrieve_payment_intent(self, name: str) -> PaymentIntentFacts:
        found: PaymentIntentFacts = self._named(self.intents, name)
        return found

    def retrieve_refund(self, name: str) -> RefundFacts:
        found: RefundFacts = self._named(self.refunds, name)
        return found

    def retrieve_dispute(self, name: str) -> DisputeFacts:
        found: DisputeFacts = self._named(self.disputes, name)
        return found

    def _page(self, what: str, items: Sequence[Any], asked: Json) -> Listed[Any]:
        self.asked.append((what, asked))
        until = asked["until"] or 2**60
        within = [one for one in items if asked["since"] <= one.created < until]
        names = [one.id for one in within]
        at = names.index(asked["cursor"]) + 1 if asked["cursor"] else 0
        page = within[at : at + 2]
        return Listed(items=page, cursor=page[-1].id if at + 2 < len(within) else None)

    def _named(self, items: Sequence[Any], name: str) -> Any:
        self.asked.append(("one", name))
        for one in items:
            if one.id == name:
                return one
        raise NotFound(param="id")


@attrs.define
class Here:
    """The ledger, and Stripe."""

    storage: Storage = attrs.field(factory=MemoryStorage)
    clock: Clock = attrs.field(factory=Clock)
    stripe: Lists = attrs.field(factory=Lists)
    queue: PostingQueue = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.queue = PostingQueue(self.storage, self.clock)

    def quote(self, name: str = "1") -> Quote:
        quote = Quote(
            quote_id=f"quote_{name}",
            user_id="ada",
            amount_minor=PAID,
            currency="usd",
            credits=CREDITS,
            package_id=None,
            customer_id=None,
            rule="rate",
            expires_seconds=None,
            fingerprint=name,
            payment_intent_id=None,
            created_at="",
        )
        return self.queue.submit(KeepQuote(quote=quote))

    def reconcile(self, **given: Any) -> ReconciliationReport:
        reconciler = Reconciler(
            self.storage,
            self.queue,
            self.clock,
            self.stripe,  # type: ignore[arg-type]  # no more of it is asked
            sleep=lambda _seconds: None,
        )
        self.clock.instant += timedelta(hours=2)
        given = {"since": NOW - timedelta(days=1), "until": NOW} | given
        return reconciler.run(**given)


@pytest.fixture
def here(storage: Storage) -> Here:
    return Here(storage)


def intent(status: str = "succeeded", name: str = "1", **given: Any) -> PaymentIntentFacts:
    fields: Json = {
        "id": f"pi_{name}",
        "status": status,
        "amount": PAID,
        "currency": "usd",
        "created": int(NOW.timestamp()) - 3_600,
        "amount_received": PAID if status == "succeeded" else 0,
        "metadata": {"user_id": "ada", "quote_id": f"quote_{name}"},
    }
    return PaymentIntentFacts(**fields | given)


def refund(name: str, amount: int, status: str = "succeeded") -> RefundFacts:
    created = int(NOW.timestamp()) - 1_800
    return RefundFacts(f"re_{name}", amount, "usd", status, "pi_1", created=created)


def dispute(name: str, amount: int, status: str, *movements: int) -> DisputeFacts:
    moved: list[MovementFacts | str] = [
        MovementFacts(f"txn_{name}_{number}", moved) for number, moved in enumerate(movements)
    ]
    return DisputeFacts(
        f"dp_{name}",
        amount,
        "usd",
        "fraudulent",
        status,
        int(NOW.timestamp()) - 1_800,
        "pi_1",
        balance_transactions=moved,
    )


def told(facts: PaymentIntentFacts | RefundFacts | DisputeFacts) -> Any:
    """The report that a webhook makes."""
    if isinstance(facts, PaymentIntentFacts):
        return ReportPayment(facts=facts)
    if isinstance(facts, RefundFacts):
        return ReportRefund(facts=facts, payment_intent_id="pi_1")
    return ReportDispute(facts=facts, created_at=instants.from_unix(facts.created))


# -- any payment, any loss --------------------------------------------------------------------

AMOUNTS = st.integers(1, 600)
REFUNDS = st.tuples(AMOUNTS, st.sampled_from(["pending", "succeeded", "failed"]))
STORIES: tuple[tuple[str, Callable[[int], tuple[int, ...]]], ...] = (
    ("warning_needs_response", lambda _amount: ()),
    ("warning_closed", lambda _amount: ()),
    ("needs_response", lambda amount: (-amount,)),
    ("under_review", lambda amount: (-amount,)),
    ("lost", lambda amount: (-amount,)),
    ("won", lambda amount: (-amount, amount)),
)
"""How a dispute stands, and what of its money has moved by then; in the order of time."""


@attrs.frozen
class Stage:
    """An object as it is at Stripe, and as it was told of before; None where it was not."""

    now: Any
    known: Any


@st.composite
def refunds(draw: st.DrawFn) -> list[Stage]:
    stages = []
    for number in range(draw(st.integers(0, 4))):
        amount, status = draw(REFUNDS)
        earlier = draw(st.sampled_from(["pending", "succeeded"])) if status == "failed" else status
        now = refund(str(number), amount, status)
        known = draw(st.sampled_from([None, now, refund(str(number), amount, earlier)]))
        stages.append(Stage(now, known))
    return stages


@st.composite
def disputes(draw: st.DrawFn) -> list[Stage]:
    stages = []
    for number in range(draw(st.integers(0, 2))):
        amount = draw(AMOUNTS)
        at = draw(st.integers(0, len(STORIES) - 1))
        made = [dispute(str(number), amount, status, *moved(amount)) for status, moved in STORIES]
        earlier = made[: at + 1] if at > 1 else [made[at]]
        known = draw(st.sampled_from([None, *earlier]))
        stages.append(Stage(made[at], known))
    return stages


def reversed_minor(one: Any) -> int:
    """What is reversed by an object, by another hand."""
    if isinstance(one, RefundFacts):
        return one.amount if one.status != "failed" else 0
    return -sum(moved.amount for moved in one.balance_transactions) if one else 0


def is_frozen(one: Any) -> bool:
    return isinstance(one, DisputeFacts) and one.status == "warning_needs_response"


def expected(stage: Stage) -> Kind | None:
    """What is to be told of an object."""
    now = reversed_minor(stage.now), is_frozen(stage.now)
    known = reversed_minor(stage.known), is_frozen(stage.known)
    if now != known:
        return Kind.MISSING_REVERSAL if now > known else Kind.MISSING_RETURN
    if isinstance(stage.now, RefundFacts) or stage.now == stage.known:
        return None
    return Kind.MISSING_RECORD if stage.known is None else Kind.MISSING_EVENT


@settings(deadline=None)
@given(refunds(), disputes(), st.booleans())
def test_whatever_was_lost_is_found_and_mended_and_nothing_else(
    of_refunds: list[Stage], of_disputes: list[Stage], is_told: bool
) -> None:
    here = Here()
    stages = [*of_refunds, *of_disputes]
    here.queue.submit(LinkIntent(quote_id=here.quote().quote_id, facts=intent("processing")))
    here.stripe.intents.append(intent())
    here.stripe.refunds.extend(stage.now for stage in of_refunds)
    here.stripe.disputes.extend(stage.now for stage in of_disputes)
    if is_told:
        here.queue.submit(told(intent()))
        for stage in stages:
            if stage.known is not None:
                here.queue.submit(told(stage.known))

    looked = here.reconcile()
    found = {one.subject: one.kind for one in looked.differences}
    assert len(found) == len(looked.differences)
    if is_told:
        assert found == {
            stage.now.id: kind for stage in stages if (kind := expected(stage)) is not None
        }
    else:
        assert found == {"pi_1": Kind.MISSING_PAYMENT}, "what is of it is not told apart"

    repaired = here.reconcile(repair=True)
    assert repaired.ok
    assert [(one.kind, one.subject) for one in repaired.differences] == [
        (one.kind, one.subject) for one in looked.differences
    ]
    assert here.reconcile().differences == ()
    paid = here.storage.get(Payment, "pi_1")
    assert paid
    reversed_now = min(PAID, sum(reversed_minor(stage.now) for stage in stages))
    due = CREDITS * reversed_now // PAID
    assert paid.credited - paid.refunded_credits - paid.disputed_credits == CREDITS - due
    wallet = here.storage.get(Wallet, "ada")
    assert wallet
    assert wallet.available + wallet.frozen == CREDITS - due
    with here.storage.snapshot() as reader:
        assert verify(reader).ok


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=5),
    st.integers(0, 5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.randoms(use_true_random=False),
)
def test_refunds_that_only_their_charge_told_of_are_summed_up(
    made: list[tuple[int, bool]], told_of: int, told_failed: list[bool], order: Any
) -> None:
    """As before Stripe's version 2024-10-28, where a charge tells what was refunded in all."""
    here = Here()
    here.queue.submit(LinkIntent(quote_id=here.quote().quote_id, facts=intent("processing")))
    here.stripe.intents.append(intent())
    here.queue.submit(told(intent()))
    known = 0
    for number, (amount, fails) in enumerate(made):
        now = refund(str(number), amount, "failed" if fails else "succeeded")
        here.stripe.refunds.append(now)
        if number < told_of:
            known += amount
            charge = ChargeFacts("ch_1", "usd", known, "pi_1")
            here.queue.submit(ReportRefund(facts=charge, payment_intent_id="pi_1"))
    for number, (_, fails) in enumerate(made[:told_of]):
        if fails and told_failed[number]:
            here.queue.submit(told(here.stripe.refunds[number]))
            known -= made[number][0]
    order.shuffle(here.stripe.refunds)

    due = sum(amount for amount, fails in made if not fails)
    looked = here.reconcile()
    assert looked.ok == (not {Kind(kind) for kind in looked.found})
    if looked.ok:
        assert due == known
    repaired = here.reconcile(repair=True)
    assert repaired.ok
    assert here.reconcile().differences == ()
    paid = here.storage.get(Payment, "pi_1")
    assert paid
    assert paid.refunded_credits == CREDITS * due // PAID
    if due == known and all(told_failed[number] for number in range(len(made))):
        assert looked.ok, "nothing is told that is not so"


# -- the walk ---------------------------------------------------------------------------------


def test_the_walk_begins_an_hour_early_and_ends_before_until(here: Here) -> None:
    here.reconcile(since=NOW - timedelta(days=2), until=NOW - timedelta(days=1))
    asked = [one for what, one in here.stripe.asked if what == "intents"]
    day = 24 * 3_600
    assert [(one["since"], one["until"]) for one in asked] == [
        (int(NOW.timestamp()) - 2 * day - 3_600, int(NOW.timestamp()) - day)
    ]


@pytest.mark.parametrize(
    "since", [datetime(1960, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]
)
def test_before_1970_there_was_no_stripe(here: Here, since: datetime) -> None:
    here.reconcile(since=since)
    assert here.stripe.asked[0][1]["since"] == 0


def test_all_event_types_that_are_read_fit_one_list() -> None:
    assert len(EVENT_TYPES) <= 20


@pytest.mark.parametrize(
    ("since", "until", "param"),
    [
        (datetime(2024, 1, 1), None, "since"),  # noqa: DTZ001 - that is the point
        ("2024-01-01", None, "since"),
        (NOW, datetime(2024, 1, 2), "until"),  # noqa: DTZ001
        (NOW, NOW, "until"),
        (NOW, NOW - timedelta(seconds=1), "until"),
        (NOW + timedelta(hours=1), None, "since"),
        (NOW + timedelta(minutes=50), None, "since"),
    ],
)
def test_times_that_cannot_be_right_are_refused(
    here: Here, since: Any, until: Any, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        here.reconcile(since=since, until=until)
    assert caught.value.param == param
    assert here.stripe.asked == []
    assert not here.storage.page(Checkpoint, {}, order=("name",), limit=1)


def test_a_second_run_asks_for_pages_and_for_nothing_one_by_one(here: Here) -> None:
    for number in range(7):
        name = str(number)
        here.quote(name)
        here.stripe.intents.append(intent(name=name))
        here.queue.submit(told(intent(name=name)))
    assert here.reconcile().ok
    assert {what for what, _ in here.stripe.asked} == {"intents", "refunds", "disputes", "events"}
    assert len(here.stripe.asked) == 7


def test_a_run_that_goes_on_asks_for_pages_and_for_nothing_one_by_one(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        name = str(number)
        here.quote(name)
        here.stripe.intents.append(intent(name=name))
        here.queue.submit(told(intent(name=name)))
    with monkeypatch.context() as patched:
        patched.setattr(Lists, "list_events", lambda _self, **_asked: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            here.reconcile()
    here.stripe.asked.clear()
    assert here.reconcile().payment_intents == 5
    assert [what for what, _ in here.stripe.asked] == [
        "events",
        "intents",
        "intents",
        "intents",
        "refunds",
        "disputes",
    ]


def test_our_payments_of_another_time_are_not_asked_for(here: Here) -> None:
    here.quote()
    here.queue.submit(told(intent()))
    early = here.reconcile(since=NOW - timedelta(days=3), until=NOW - timedelta(days=2))
    assert (early.payments, early.ok) == (0, True)
    late = here.reconcile(since=NOW, until=NOW + timedelta(days=1))
    assert (late.payments, late.ok) == (0, True)
    then = here.reconcile()
    assert (then.payments, then.found) == (1, {"extra_payment": 1})


def test_what_a_person_has_changed_at_stripe_meanwhile_is_read_anew(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that was read first says what is no longer so."""
    here.quote()
    here.queue.submit(LinkIntent(quote_id="quote_1", facts=intent("processing")))
    here.stripe.intents.append(intent())
    pages = iter([[intent()], [intent("processing")]])
    monkeypatch.setattr(
        Lists, "list_payment_intents", lambda _self, **_asked: Listed(items=next(pages))
    )
    assert here.reconcile().ok


def test_a_foreign_intent_is_asked_for_once_for_all_that_is_of_it(here: Here) -> None:
    here.stripe.intents.append(intent(metadata={}, created=0))
    here.stripe.refunds.extend(refund(str(number), 10) for number in range(5))
    here.stripe.disputes.append(dispute("1", 10, "lost", -10))
    report = here.reconcile()
    assert (report.ok, report.foreign) == (True, 6)
    assert here.stripe.asked.count(("one", "pi_1")) == 1


def test_objects_of_no_intent_are_foreign(here: Here) -> None:
    made = msgspec.structs.replace(refund("1", 10), payment_intent=None)
    here.stripe.refunds.append(made)
    report = here.reconcile()
    assert (report.ok, report.refunds, report.foreign) == (True, 1, 1)


def test_a_refund_that_is_of_another_payment_at_stripe_is_extra(here: Here) -> None:
    here.quote()
    here.stripe.intents.append(intent())
    here.queue.submit(told(intent()))
    here.queue.submit(told(refund("1", 500)))
    moved = msgspec.structs.replace(refund("1", 500), payment_intent="pi_other", created=1)
    here.stripe.refunds.append(moved)
    assert ref_id(moved.payment_intent) == "pi_other"
    [one] = here.reconcile().differences
    assert (one.kind, one.subject, one.payment_intent_id) == (
        Kind.EXTRA_REVERSAL,
        "re_1",
        "pi_1",
    )


def test_a_report_that_cannot_be_decided_is_told_and_ends_nothing(
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("1", "2"):
        here.quote(name)
        here.stripe.intents.append(intent(name=name))
    decide = ReportPayment.decide

    def poisoned(self: ReportPayment, *arguments: Any) -> Any:
        if self.facts.id == "pi_1":
            raise ZeroDivisionError
        return decide(self, *arguments)

    monkeypatch.setattr(ReportPayment, "decide", poisoned)
    found = {(one.kind, one.subject): one.detail for one in here.reconcile().differences}
    assert found.keys() == {(Kind.UNREADABLE, "pi_1"), (Kind.MISSING_PAYMENT, "pi_2")}
    assert found[Kind.UNREADABLE, "pi_1"] == "deciding it raised ZeroDivisionError"


def test_a_database_that_is_down_ends_the_run_which_goes_on_later(
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here.quote()
    here.stripe.intents.append(intent())

    def down(_commands: object) -> list[Exception]:
        return [StorageUnavailable()]

    with monkeypatch.context() as patched:
        patched.setattr(here.queue, "submit_all", down)
        with pytest.raises(StorageUnavailable):
            here.reconcile()
    assert here.reconcile().found == {"missing_payment": 1}


def test_a_checkpoint_that_cannot_be_read_begins_anew(here: Here) -> None:
    name = checkpoints.name_of(instants.to_text(NOW - timedelta(days=1)), repair=False)
    for state in ("", "nonsense", "[]", '{"phase": 1}'):
        here.queue.submit(checkpoints.KeepCheckpoint(name=name, state=state))
        assert here.reconcile().ok


# -- pace -------------------------------------------------------------------------------------


def test_requests_are_spread_evenly() -> None:
    waits: list[float] = []
    instant = [100.0]

    def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))
        instant[0] += seconds

    pace = Pace(20, clock=lambda: instant[0], sleep=sleep)
    pace.wait()
    pace.wait()
    instant[0] += 0.02
    pace.wait()
    instant[0] += 10
    pace.wait()
    assert waits == [0.05, 0.03], "nothing is saved up, and who is late does not wait"


def test_a_run_asks_no_faster_than_its_pace(here: Here) -> None:
    instant = [0.0]

    def sleep(seconds: float) -> None:
        instant[0] += seconds

    reconciler = Reconciler(
        here.storage,
        here.queue,
        here.clock,
        here.stripe,  # type: ignore[arg-type]
        requests_per_second=10,
        monotonic=lambda: instant[0],
        sleep=sleep,
    )
    reconciler.run(since=NOW - timedelta(days=1), until=NOW)
    assert len(here.stripe.asked) == 4
    assert instant[0] == pytest.approx(0.3)
