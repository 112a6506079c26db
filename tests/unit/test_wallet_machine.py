"""Wallets against a plain model of them: every operation, in any order, again, late and at once."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.conftest import WEBHOOK_SECRET, TurnableClock
from tests.support import model, reports
from tests.support.stepping import Api, Catcher, Caught, Step, Watched, outcome_of, plain

import credit_payments as cp
from credit_payments.domain import decision, lots
from credit_payments.domain.clawback import Policies, Policy
from credit_payments.domain.records import Hold, Lot
from credit_payments.posting.line import Ticket

pytestmark = pytest.mark.long

USERS = ("ada", "bob")
VERIFY_EVERY_STEPS = 8
TOGETHER_MAX = 6
LOTS_MANY = 40

DISPUTE_STATUSES = (
    "warning_needs_response",
    "needs_response",
    "needs_response",
    "under_review",
    "warning_closed",
    "lost",
    "won",
)
DISPUTE_EVENTS = ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")

counted = {"steps": 0}
"""How many steps all machines of this process have taken."""

users = st.sampled_from(["ada", "ada", "ada", "bob"])
amounts = st.one_of(
    st.integers(1, 9), st.integers(1, 40), st.sampled_from(["half", "half", "all", "one more"])
)
earlier = st.sampled_from([None] * 9 + [0, 2])
"""Whose key is used again, counted from the last one; mostly a new one is."""
numbers = st.integers(0, 2**16)
"""To choose one of several by: the remainder counts."""
seconds = st.one_of(st.integers(1, 20), st.integers(1, 400), st.just(0.5))
lasting = st.none() | st.integers(1, 300)
sales = st.sampled_from([(40, 1_000), (30, 100), (7, 333), (1, 3), (20, 20)])
"""How many credits for how many minor units."""
policies = st.sampled_from([*product(Policy, repeat=2)])
"""For refunds and for disputes."""
overages = st.sampled_from(["refuse", "take", "debt", "debt"])
shares = st.sampled_from(["all", "less", "more", "one"])


class WalletMachine(RuleBasedStateMachine):
    """Takes steps with a system and with the model, and compares all that can be seen."""

    folder: Path | None = None
    """Where databases are put; in memory where that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnableClock()
        self.names = 0
        self.past: list[Step] = []
        self.together: list[Step] | None = None
        self.keys: dict[str, list[str]] = {"grant": [], "spend": [], "hold": [], "suspend": []}
        self.first_answers: dict[str, cp.Entry] = {}
        self.unverified = 0

    @initialize(
        both=policies,
        first_rows=st.sampled_from([8, 1, 2]),
        bought=sales,
        lasts=lasting,
        granted=st.integers(1, 30),
    )
    def open(
        self,
        both: tuple[Policy, Policy],
        first_rows: int,
        bought: tuple[int, int],
        lasts: int | None,
        granted: int,
    ) -> None:
        # With fewer rows loaded at first, small wallets go the way of large ones.
        self.patches = [
            mock.patch.object(module, "FIRST_ROWS", first_rows) for module in (decision, lots)
        ]
        for patch in self.patches:
            patch.start()
        self.system = cp.connect(
            database=self._database(), clock=self.clock, stripe_webhook_secret=WEBHOOK_SECRET
        )
        self.storage = self.system._storage
        self.api = Api(self.system.wallets, self.system.queue)
        catcher: Any = Catcher()
        self.catching = Api(cp.Wallets(self.storage, catcher, self.clock), catcher)
        self.policies = Policies(refund=both[0], dispute=both[1])
        self.model = model.Model(
            dict(zip(("refund", "dispute"), both, strict=True)), self.clock.now()
        )
        self.buy("ada", bought, lasts)
        self.grant("ada", granted, None, lasts, 1)

    def _database(self) -> str:
        if self.folder is None:
            return "memory://"
        return f"sqlite:///{Path(tempfile.mkdtemp(dir=self.folder)) / 'credits.db'}"

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        try:
            if sys.exc_info()[0] is None:  # or the failure would be hidden behind those to follow
                self.run_together()
                self.verify()
        finally:
            self.system.close()
            for patch in self.patches:
                patch.stop()

    # -- taking steps -----------------------------------------------------------------------

    def take(self, step: Step) -> None:
        """Take it now, or with others at once when some are being gathered."""
        counted["steps"] += 1
        self.past.append(step)
        if self.together is None:
            self.compare(step, lambda: step.call(self.api))
            return
        self.together.append(step)
        if len(self.together) == TOGETHER_MAX:
            self.run_together()

    def compare(self, step: Step, run: Any) -> None:
        told = outcome_of(run)
        expected = outcome_of(lambda: step.expect(self.model))
        assert plain(told) == plain(expected)
        if isinstance(told, cp.Entry):
            assert self.first_answers.setdefault(told.cause, told) == told

    def run_together(self) -> None:
        """Have all that was gathered decided in one batch; the model follows in its order."""
        steps, self.together = self.together or [], None
        decided: list[Watched] = []
        batch: dict[Watched, tuple[Ticket[Any], Step]] = {}
        for step in steps:
            try:
                step.call(self.catching)
            except Caught as caught:
                watched = Watched(caught.command, decided)
                batch[watched] = (Ticket(watched), step)
        if batch:
            tickets = [ticket for ticket, _ in batch.values()]
            self.system.queue._run(tickets, time.monotonic() + 60, patient=True)
        assert len(decided) == len(batch)
        for watched in decided:
            ticket, step = batch[watched]
            self.compare(step, ticket.result)

    def new(self, kind: str, given: int | None) -> str:
        """A key that is new, or one that was given before."""
        known = self.keys[kind]
        if given is not None and given < len(known):
            return known[-1 - given]
        self.names += 1
        # Some look as if they were the names of what the library makes of others.
        name = f"{known[-1]}:2" if known and self.names % 3 == 0 else f"{kind[0]}{self.names}"
        known.append(name)
        return name

    def amount(self, user: str, asked: int | str) -> int:
        if isinstance(asked, int):
            return asked
        there = self.model.wallet_now(user).available()
        return max(1, {"half": there // 2, "all": there}.get(asked, there + 1))

    # -- credits come and go ----------------------------------------------------------------

    @rule(
        user=users,
        credits=st.integers(1, 20),
        given=earlier,
        lasts=st.none() | st.integers(-3, 20) | st.integers(1, 400),
        priority=st.sampled_from([0, 0, -1, 1, 100, -100]),
    )
    def grant(
        self, user: str, credits: int, given: int | None, lasts: int | None, priority: int
    ) -> None:
        key = self.new("grant", given)
        expires = None if lasts is None else self.clock.now() + timedelta(seconds=lasts)
        self.take(
            Step(
                lambda api: api.wallets.grant(
                    user, credits, key=key, reason="r", expires_at=expires, priority=priority
                ),
                lambda model: model.grant(user, credits, key, expires, priority),
            )
        )

    @precondition(lambda self: self.together is None and self.names < LOTS_MANY)
    @rule(user=users, all_last=st.lists(st.none() | st.integers(1, 60), min_size=3, max_size=9))
    def grant_many(self, user: str, all_last: list[int | None]) -> None:
        for number, lasts in enumerate(all_last):
            self.grant(user, 1 + number % 3, None, lasts, number % 2)

    @rule(user=users, asked=amounts, given=earlier)
    def spend(self, user: str, asked: int | str, given: int | None) -> None:
        key, credits = self.new("spend", given), self.amount(user, asked)
        self.take(
            Step(
                lambda api: api.wallets.spend(user, credits, key=key),
                lambda model: model.spend(user, credits, key),
            )
        )

    @rule()
    def spend_all(self) -> None:
        self.spend("ada", "all", None)

    @precondition(lambda self: self.model.used)
    @rule(which=numbers, of_any=st.sampled_from([False] * 7 + [True]))
    def undo(self, which: int, of_any: bool) -> None:
        causes = ["spend:missing", *self.model.entries] if of_any else [*self.model.used]
        cause = causes[which % len(causes)]
        self.take(Step(lambda api: api.wallets.reverse(cause), lambda model: model.undo(cause)))

    @rule(user=users, given=earlier, chosen=st.sampled_from([None] * 6 + [True, False]))
    def suspend_or_resume(self, user: str, given: int | None, chosen: bool | None) -> None:
        key = self.new("suspend", given)
        is_now = self.model.wallet(user).suspended
        suspended = not is_now and len(self.past) % 4 == 0 if chosen is None else chosen

        def call(api: Api) -> object:
            act = api.wallets.suspend if suspended else api.wallets.resume
            return act(user, key=key, reason="r", actor="a")

        self.take(Step(call, lambda model: model.suspend(user, key, suspended=suspended)))

    # -- holds ------------------------------------------------------------------------------

    @rule(user=users, asked=amounts, given=earlier, ttl=seconds, overage=overages)
    def hold(
        self, user: str, asked: int | str, given: int | None, ttl: float, overage: str
    ) -> None:
        key, credits = self.new("hold", given), self.amount(user, asked)
        self.take(
            Step(
                lambda api: api.wallets.hold(user, credits, key=key, ttl=ttl, overage=overage),
                lambda model: model.hold(user, credits, key, ttl, overage),
            )
        )

    @precondition(lambda self: self.model.held_by)
    @rule(which=numbers, share=shares, by=st.integers(1, 30))
    def capture(self, which: int, share: str, by: int) -> None:
        key, hold = self._some_hold(which)
        sizes = {"all": hold.credits, "less": hold.credits - by, "more": hold.credits + by}
        credits = max(1, sizes.get(share, 1))
        self.take(
            Step(
                lambda api: api.wallets.get_hold(key).capture(credits),
                lambda model: model.capture(key, credits),
            )
        )

    @rule(ttl=seconds, overage=overages, share=shares, by=st.integers(1, 30))
    def hold_and_capture(self, ttl: float, overage: str, share: str, by: int) -> None:
        self.hold("ada", "half", None, ttl, overage)
        if self.model.held_by:
            self.capture(1, share, by)

    @precondition(lambda self: self.model.held_by)
    @rule(which=numbers)
    def release(self, which: int) -> None:
        key, _ = self._some_hold(which)
        self.take(
            Step(
                lambda api: api.wallets.get_hold(key).release(),
                lambda model: model.release(key),
            )
        )

    @precondition(lambda self: self.model.held_by)
    @rule(which=numbers, ttl=seconds)
    def extend(self, which: int, ttl: float) -> None:
        key, _ = self._some_hold(which)
        self.take(
            Step(
                lambda api: api.wallets.get_hold(key).extend(ttl),
                lambda model: model.extend(key, ttl),
            )
        )

    def _some_hold(self, which: int) -> tuple[str, model.Hold]:
        """One of those that run, as long as there are any; any other now and then."""
        holds = [
            (key, self.model.wallets[user].holds[key]) for key, user in self.model.held_by.items()
        ]
        running = [each for each in holds if each[1].status == "held"]
        some = running if running and which % 4 else holds
        return some[which % len(some)]

    # -- payments ---------------------------------------------------------------------------

    @rule(user=users, sold=sales, lasts=lasting)
    def buy(self, user: str, sold: tuple[int, int], lasts: int | None) -> None:
        name = self.quote(user, sold, lasts)
        self.link(name)
        self._tell_payment(name, "succeeded", None)

    @rule(
        user=users,
        sold=sales,
        lasts=lasting,
        linked=st.booleans(),
        told=st.sets(st.sampled_from(["refund", "dispute"])),
    )
    def ask_for_quote(
        self, user: str, sold: tuple[int, int], lasts: int | None, linked: bool, told: set[str]
    ) -> None:
        """What is told of its money may come before what is told of its success."""
        name = self.quote(user, sold, lasts)
        if linked:
            self.link(name)
        if "refund" in told:
            self._tell_refund(name, 1, "succeeded", again=False)
        if "dispute" in told:
            self._tell_dispute(name, 1, "needs_response", set(), "created", again=False)

    def quote(self, user: str, sold: tuple[int, int], lasts: int | None) -> str:
        self.names += 1
        name = f"pi_{self.names}"
        self.model.add_payment(name, user, sold, lasts)
        self.system.queue.submit(reports.keep_quote(self.model.payments[name]))
        return name

    def link(self, name: str) -> None:
        payment = self.model.payments[name]
        self.system.queue.submit(reports.link_intent(payment))
        payment.recorded = True

    @precondition(lambda self: self.together is None)
    @rule(which=numbers)
    def link_late(self, which: int) -> None:
        counted["steps"] += 1
        self.link(self._some_payment(which, paid=False))

    @rule(
        which=numbers,
        status=st.sampled_from(["succeeded", "succeeded", "succeeded", "processing"]),
        event=st.none() | st.integers(1, 3),
    )
    def tell_payment(self, which: int, status: str, event: int | None) -> None:
        self._tell_payment(self._some_payment(which, paid=False), status, event)

    def _tell_payment(self, name: str, status: str, event: int | None) -> None:
        event_id = None if event is None else f"evt_{name}_{event}"
        payment = self.model.payments[name]
        report = reports.payment_report(payment, status, event_id, self.policies)
        self.take(
            Step(
                lambda api: api.queue.submit(report),
                lambda model: model.tell_payment(name, status, event_id),
            )
        )

    @rule(
        which=numbers,
        number=st.integers(1, 3),
        status=st.sampled_from(["pending", "succeeded", "succeeded", "failed"]),
        again=st.booleans(),
    )
    def tell_refund(self, which: int, number: int, status: str, again: bool) -> None:
        self._tell_refund(self._some_payment(which, paid=True), number, status, again=again)

    def _tell_refund(self, name: str, number: int, status: str, *, again: bool) -> None:
        payment = self.model.payments[name]
        amount = max(1, payment.paid * (2 * number - 1) // 6)
        refund, event = f"re_{name}_{number}", self._event(f"{name}_re{number}_{status}", again)
        report = reports.refund_report(payment, refund, amount, status, event, self.policies)
        self.take(
            Step(
                lambda api: api.queue.submit(report),
                lambda model: model.tell_refund(name, refund, amount, status, event),
            )
        )

    @rule(which=numbers, sixths=st.integers(1, 7), again=st.booleans())
    def tell_charge(self, which: int, sixths: int, again: bool) -> None:
        """What a charge says of all of its refunds; not always what these say."""
        name = self._some_payment(which, paid=True)
        payment = self.model.payments[name]
        refunded = payment.paid * sixths // 6
        event = self._event(f"{name}_ch_{refunded}", again)
        report = reports.charge_report(payment, refunded, event, self.policies)
        self.take(
            Step(
                lambda api: api.queue.submit(report),
                lambda model: model.tell_charge(name, refunded, event),
            )
        )

    @rule(
        which=numbers,
        number=st.integers(1, 2),
        status=st.sampled_from(DISPUTE_STATUSES),
        moved=st.sets(st.sampled_from(["out", "back", "part"]), max_size=2),
        kind=st.sampled_from(DISPUTE_EVENTS),
        again=st.booleans(),
    )
    def tell_dispute(
        self, which: int, number: int, status: str, moved: set[str], kind: str, again: bool
    ) -> None:
        name = self._some_payment(which, paid=True)
        self._tell_dispute(name, number, status, moved, kind, again=again)

    def _tell_dispute(
        self, name: str, number: int, status: str, moved: set[str], kind: str, *, again: bool
    ) -> None:
        payment = self.model.payments[name]
        dispute, amount = f"dp_{name}_{number}", payment.paid // number
        # The second one is of an account that is kept in another currency.
        there = amount if number == 1 else amount * 9 // 10
        sizes = {"out": -there, "back": there, "part": there // 3}
        movements = {f"txn_{dispute}_{move}": sizes[move] for move in sorted(moved)}
        event = self._event("_".join([dispute, status, kind, *sorted(moved)]), again)
        report = reports.dispute_report(
            payment, dispute, amount, status, movements, kind, event, self.policies
        )
        self.take(
            Step(
                lambda api: api.queue.submit(report),
                lambda model: model.tell_dispute(
                    name, dispute, amount, status, movements, kind, event
                ),
            )
        )

    @rule(
        sold=sales,
        lasts=lasting,
        away=st.sampled_from(["spend", "hold"]),
        others=st.sampled_from(["before", "after", "never"]),
        credits=st.integers(1, 30),
        sixths=st.integers(2, 6),
    )
    def reverse_what_is_away(
        self,
        sold: tuple[int, int],
        lasts: int | None,
        away: str,
        others: str,
        credits: int,
        sixths: int,
    ) -> None:
        """Others stand in for it, or it is owed; what is done next may bring it back."""
        self.buy("ada", sold, lasts)
        if away == "spend":
            self.spend("ada", "all", None)
        else:
            self.hold("ada", "all", None, 100, "debt")
        if others == "before":
            self.grant("ada", credits, None, None, 0)
        self.tell_charge(1, sixths, again=False)
        if others == "after":
            self.grant("ada", credits, None, lasts, 0)

    def _some_payment(self, which: int, *, paid: bool) -> str:
        """One of the last that are paid, or are not; any other now and then."""
        payments = self.model.payments.values()
        wanted = [payment for payment in payments if (payment.status == "succeeded") == paid]
        some = wanted[-2:] if wanted and which % 8 else [*payments]
        return some[which % len(some)].name

    def _event(self, told: str, again: bool) -> str:
        """The id of an event: that of an earlier one that told the same, or a new one."""
        if again:
            return f"evt_{told}"
        self.names += 1
        return f"evt_{told}_{self.names}"

    # -- time, repetition, and many at once -------------------------------------------------

    @precondition(lambda self: self.together is None)
    @rule(by=st.one_of(st.integers(1, 10), st.integers(1, 200), st.integers(-30, -1)))
    def turn_clock(self, by: int) -> None:
        """Also back, as when another machine comes next."""
        counted["steps"] += 1
        self._set_clock(self.clock.now() + timedelta(seconds=by))

    @precondition(lambda self: self.together is None)
    @rule(
        user=users,
        which=st.sampled_from([0, 0, 0, 1, 2, -1]),
        off=st.sampled_from([0, 0, -1, 1]),
        then=st.sampled_from(["nothing", "post due", "capture", "capture"]),
    )
    def turn_clock_to_a_moment(self, user: str, which: int, off: int, then: str) -> None:
        """When something expires or lapses, exactly, or a microsecond off."""
        counted["steps"] += 1
        moments = self.model.wallet_now(user).moments()
        if moments:
            self._set_clock(moments[which % len(moments)] + timedelta(microseconds=off))
        if then == "capture" and self.model.held_by:
            self.capture(3, "more", 1 + which % 5)
        elif then == "post due":
            self.take(
                Step(lambda api: api.wallets.post_due(user), lambda model: model.post_due(user))
            )

    def _set_clock(self, instant: datetime) -> None:
        self.clock.instant = self.model.now = instant

    @precondition(lambda self: self.past)
    @rule(which=numbers)
    def repeat(self, which: int) -> None:
        self.take(self.past[-1 - which % len(self.past)])

    @precondition(lambda self: self.together is None)
    @rule()
    def gather(self) -> None:
        """What comes next is run at once, as if by as many threads."""
        self.together = []

    # -- what must hold ---------------------------------------------------------------------

    @invariant()
    def balances_and_open_lots_are_as_in_the_model(self) -> None:
        for user in USERS if hasattr(self, "model") else ():
            wallet = self.model.wallet_now(user)
            assert attrs.asdict(self.system.wallets.balance(user)) == wallet.balance()
            assert not (wallet.debt and wallet.available())
            assert self._listed(user) == self.model.wallet(user).listed()
        self.unverified += 1
        if self.unverified > VERIFY_EVERY_STEPS:
            self.verify()

    def _listed(self, user: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        cursor = None
        for _ in range(100):
            page = self.system.wallets.lots(user, limit=5, cursor=cursor)
            listed += (attrs.asdict(lot) for lot in page)
            cursor = page.cursor
            if cursor is None:
                break
        for lot in listed:
            assert lot.pop("user_id") == user
            del lot["created_at"]
        return listed

    def verify(self) -> None:
        """What is too slow to be done after each step."""
        self.unverified = 0
        report = self.system.verify()
        assert report.ok, report.problems
        assert sum(report.trial_balance.values()) == 0
        wallets = [self.model.wallet(user) for user in USERS]
        assert {
            row.lot_id: (
                *(row.available, row.held, row.frozen, row.expired, row.written_off),
                lots.total(lots.stand_ins(row), lots.DEBT),
                tuple(map(tuple, lots.lenders(row))),
            )
            for row in self.storage.scan(Lot, order=("lot_id",))
        } == {lot.name: lot.amounts() for wallet in wallets for lot in wallet.lots.values()}
        rows = self.storage.scan(Hold, order=("hold_id",))
        holds = [hold for wallet in wallets for hold in wallet.holds.values()]
        assert {plain(row) for row in rows} == {plain(hold) for hold in holds}
        closing = self.system.report().closing
        assert closing.wallet == sum(wallet.available() for wallet in wallets)
        assert closing.held == sum(wallet.held() for wallet in wallets)
        assert closing.frozen == sum(wallet.frozen() for wallet in wallets)
        assert closing.debt == sum(wallet.debt for wallet in wallets)
        assert 0 <= closing.deferred <= closing.wallet + closing.held + closing.frozen
        for user in USERS:
            self._check_history(user)

    def _check_history(self, user: str) -> None:
        """Every page of it: each effect once, and what each entry leaves follows from the last."""
        entries: list[cp.Entry] = []
        cursor = None
        for _ in range(1_000):
            page = self.system.wallets.history(user, limit=7, cursor=cursor, oldest_first=True)
            entries += page
            cursor = page.cursor
            if cursor is None:
                break
        for before, after in pairwise(entries):
            assert after.balance_after == before.balance_after + after.credits
            assert after.created_at >= before.created_at
        assert len({entry.cause for entry in entries}) == len(entries)
        named_by_the_library = {"lapse", "expiry", "reversal", "freeze"}
        causes = [entry.cause for entry in entries if entry.kind not in named_by_the_library]
        assert causes == [cause for cause, whose in self.model.entries.items() if whose == user]
        wallet = self.model.wallet(user)
        if entries:
            assert entries[-1].balance_after == wallet.available()
            assert entries[-1].debt_after == wallet.debt
            assert entries[-1].created_at == wallet.last


def run(machine: type[WalletMachine], *, examples: int, steps: int, **given: Any) -> None:
    """So many examples, whatever the profile says: its number is meant for single calls."""
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[*HealthCheck],
        **given,
    )
    run_state_machine_as_test(machine, settings=how)


def test_wallets_do_what_their_model_does() -> None:
    examples = min(100, settings().max_examples)
    run(WalletMachine, examples=examples, steps=60, derandomize=True)


def test_wallets_on_sqlite_do_what_their_model_does(tmp_path: Path) -> None:
    class OnSqlite(WalletMachine):
        folder = tmp_path

    examples = min(10, settings().max_examples)
    run(OnSqlite, examples=examples, steps=40, derandomize=True)


@pytest.mark.torture
def test_wallets_do_what_their_model_does_for_a_hundred_thousand_steps() -> None:
    before = counted["steps"]
    run(WalletMachine, examples=1_300, steps=100, database=None)
    assert counted["steps"] - before >= 100_000
