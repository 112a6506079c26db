"""Secrets replaced in a real Vault while eight threads use them."""

from __future__ import annotations

import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Self

import attrs
import hvac
import pytest
from tests.conftest import TurnableClock
from tests.support.servers.openbao import OpenBao
from tests.support.servers.process import wait_until

import credit_payments as cp
from credit_payments.adapters.vault import VaultSecrets
from credit_payments.adapters.vault_client import VaultClient
from credit_payments.config.live import EARLY_LOOKS_MAX
from credit_payments.testing.simulator import StripeSimulator
from credit_payments.testing.simulator.api import Keys

PATH = "flask-app/stripe"
THREADS = 8
OVERLAP_SECONDS = 3_600
STEPS = 20
"""In which the clock goes from a second before an end to a second after it; one meets it."""
EVENT = {"id": "evt_1", "object": "event", "created": 1, "livemode": False, "data": {"object": {}}}
BODY = json.dumps({**EVENT, "type": "account.updated"}).encode()


def signed(secret: str, clock: TurnableClock) -> str:
    seconds = int(clock.now().timestamp())
    digest = hmac.new(secret.encode(), b"%d." % seconds + BODY, "sha256").hexdigest()
    return f"t={seconds},v1={digest}"


@attrs.define
class Vault:
    client: Any
    url: str
    values: dict[str, str]

    def put(self, **values: str) -> None:
        self.values |= values
        self.client.secrets.kv.v2.create_or_update_secret(PATH, self.values)


@pytest.fixture
def vault(openbao: OpenBao) -> Iterator[Vault]:
    client: Any = hvac.Client(openbao.url, openbao.token)
    yield Vault(client, openbao.url, {})
    client.secrets.kv.v2.delete_metadata_and_all_versions(PATH)
    client.adapter.close()


@pytest.fixture
def connect(
    vault: Vault, openbao: OpenBao, clock: TurnableClock
) -> Iterator[Callable[..., cp.System]]:
    opened: list[cp.System] = []

    def connected(**changes: Any) -> cp.System:
        given: dict[str, Any] = {
            "database": "memory://",
            "vault_url": vault.url,
            "vault_token": openbao.token,
            "vault_required": True,
            "webhook_secret_overlap_seconds": OVERLAP_SECONDS,
        }
        opened.append(cp.connect(clock=clock, **(given | changes)))
        return opened[-1]

    yield connected
    for system in opened:
        system.close()


@attrs.define
class Load:
    """Threads that do one thing without a pause, and what came of it in each phase.

    What began in one phase and ended in another is of neither; `ever` counts it as well.
    """

    act: Callable[[], str]
    phase: str | None = None
    seen: dict[tuple[str, str], int] = attrs.field(factory=dict)
    ever: Counter[str] = attrs.field(factory=Counter)
    _stopping: bool = False
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _threads: list[threading.Thread] = attrs.field(factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stopping:
            phase = self.phase
            outcome = self.act()
            with self._lock:
                self.ever[outcome] += 1
                if phase is not None and phase == self.phase:
                    key = phase, outcome
                    self.seen[key] = self.seen.get(key, 0) + 1

    def work(self, phase: str, times: int = 200) -> None:
        """Let them work in this phase for a while."""
        self.phase = phase
        wait_until(lambda: self.count(phase) >= times, f"{times} in phase {phase}")
        self.phase = None

    def count(self, phase: str) -> int:
        with self._lock:
            return sum(number for (when, _), number in self.seen.items() if when == phase)

    def outcomes(self, phase: str) -> set[str]:
        return {outcome for when, outcome in self.seen if when == phase}


def test_webhooks_of_a_new_secret_are_taken_at_once_and_of_the_old_one_until_its_end(
    vault: Vault, connect: Callable[..., cp.System], clock: TurnableClock
) -> None:
    vault.put(webhook_secret="whsec_first")
    webhooks = connect().webhooks
    senders = {"old": "whsec_first", "new": "whsec_first"}
    turns = iter(range(1_000_000))

    def deliver() -> str:
        sender = "new" if next(turns) % 2 else "old"
        try:
            webhooks.receive(BODY, signed(senders[sender], clock))
        except cp.InvalidSignature:
            return f"{sender} refused"
        return f"{sender} accepted"

    with Load(deliver) as load:
        load.work("before")
        # Stripe signs with the new one from this instant on: nobody has been told of it.
        vault.put(webhook_secret="whsec_second")
        senders["new"] = "whsec_second"
        load.work("overlap")
        clock.turn(OVERLAP_SECONDS - 1)
        load.work("to the end")
        clock.turn(1)
        load.work("after the end")
    both = {"old accepted", "new accepted"}
    assert load.outcomes("before") == both
    assert load.outcomes("overlap") == both
    assert load.outcomes("to the end") == both
    assert load.outcomes("after the end") == {"old refused", "new accepted"}


def test_the_old_secret_is_taken_up_to_the_instant_of_its_end_and_never_from_then_on(
    vault: Vault, connect: Callable[..., cp.System], clock: TurnableClock
) -> None:
    vault.put(webhook_secret="whsec_first")
    webhooks = connect().webhooks
    end = clock.now() + timedelta(seconds=OVERLAP_SECONDS)
    turns = iter(range(10_000_000))
    current = ["whsec_first"]

    def takes(secret: str) -> bool:
        try:
            webhooks.receive(BODY, signed(secret, clock))
        except cp.InvalidSignature:
            return False
        return True

    def deliver() -> str:
        if next(turns) % 3 == 0:
            return "new accepted" if takes(current[0]) else "new refused"
        began = clock.now()
        outcome = "accepted" if takes("whsec_first") else "refused"
        if began >= end:
            return f"old {outcome} after"
        # The end has come while it was looked at: either answer is right.
        return f"old {outcome} before" if clock.now() < end else "old across"

    with Load(deliver) as load:
        load.work("before")
        vault.put(webhook_secret="whsec_second")
        current[0] = "whsec_second"
        load.work("overlap")
    assert {*load.ever} == {"new accepted", "old accepted before"}
    clock.turn(OVERLAP_SECONDS - 1)
    with Load(deliver) as load:
        for step in range(STEPS):
            load.work(f"step {step}", times=40)
            clock.turn(2 / STEPS)
    assert load.outcomes(f"step {STEPS // 2}") == {"new accepted", "old refused after"}
    assert load.outcomes(f"step {STEPS // 2 - 1}") == {"new accepted", "old accepted before"}
    assert {*load.ever} - {"old across"} == {
        "new accepted",
        "old accepted before",
        "old refused after",
    }


def test_several_rotations_in_a_row_reject_nothing(
    vault: Vault, connect: Callable[..., cp.System], clock: TurnableClock
) -> None:
    vault.put(webhook_secret="whsec_0")
    webhooks = connect().webhooks
    current = ["whsec_0"]

    def deliver() -> str:
        webhooks.receive(BODY, signed(current[0], clock))
        return "accepted"

    with Load(deliver) as load:
        for number in range(1, 6):
            vault.put(webhook_secret=f"whsec_{number}")
            current[0] = f"whsec_{number}"
            load.work(current[0], times=50)
    assert {outcome for _, outcome in load.seen} == {"accepted"}
    assert len(load.seen) == 5


def test_a_key_that_was_rolled_is_replaced_in_the_middle_of_calls(
    vault: Vault, connect: Callable[..., cp.System], clock: TurnableClock
) -> None:
    with StripeSimulator(secret_key="sk_test_first", any_test_key=False) as stripe:
        vault.put(secret_key="sk_test_first")
        system = connect(stripe_api_base=stripe.url, stripe_wait_seconds_max=0)
        intent = system.payments.create_payment_intent("ada", "10.00", "usd").payment_intent_id

        def ask() -> str:
            try:
                return system.payments.payment_status(intent).status
            except cp.StripeRefusedKey:
                return "refused"

        with Load(ask) as load:
            load.work("before", times=40)
            vault.put(secret_key="sk_test_second")
            stripe._api._keys = Keys("sk_test_second", "pk_test_simulator", any_test_key=False)
            load.work("after", times=40)
        assert load.outcomes("before") == load.outcomes("after") == {"requires_payment_method"}
        # A key that no source knows is Stripe's refusal, after one look.
        stripe._api._keys = Keys("sk_test_third", "pk_test_simulator", any_test_key=False)
        assert ask() == "refused"


def test_wrong_signatures_do_not_have_vault_asked_without_limit(
    vault: Vault,
    connect: Callable[..., cp.System],
    clock: TurnableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vault.put(webhook_secret="whsec_first")
    system = connect()
    looks: list[int] = []
    look = VaultSecrets._look

    def counted(source: VaultSecrets, client: VaultClient) -> Mapping[str, object]:
        looks.append(1)
        return look(source, client)

    monkeypatch.setattr(VaultSecrets, "_look", counted)

    def forge() -> str:
        with pytest.raises(cp.InvalidSignature):
            system.webhooks.receive(BODY, signed("whsec_forged", clock))
        return "refused"

    with Load(forge) as load:
        load.work("attack")
    assert len(looks) == EARLY_LOOKS_MAX
    system.webhooks.receive(BODY, signed("whsec_first", clock))
