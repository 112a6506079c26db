"""Secrets that are replaced while the process runs, over sources that a test writes to."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from tests.conftest import TurnableClock

import credit_payments as cp
from credit_payments.config import FixedSecrets, LiveSecrets
from credit_payments.config import live as config_live
from credit_payments.config.held import RETIRED_MAX
from credit_payments.config.live import EARLY_LOOKS_MAX
from credit_payments.domain.signature import SigningSecret, sign, verify
from credit_payments.errors import ConfigurationError, VaultUnavailable

DAY = 86_400


@attrs.define
class Source:
    """Holds what a test puts into it; `get` answers with what was there at the last look."""

    now: dict[str, str] = attrs.field(factory=dict)
    name: str = "source"
    optional: bool = False
    error: Exception | None = None
    looks: int = 0
    during: Callable[[], None] | None = None
    seen: dict[str, str] = attrs.field(factory=dict)

    def refresh(self) -> None:
        self.looks += 1
        if self.during is not None:
            self.during()
        if self.error is not None:
            raise self.error
        self.seen = dict(self.now)

    def get(self, name: str) -> str | None:
        return self.seen.get(name)


@pytest.fixture
def source() -> Source:
    return Source({"stripe_secret_key": "sk_test_1", "stripe_webhook_secret": "whsec_1"})


@pytest.fixture
def live(source: Source, clock: TurnableClock) -> LiveSecrets:
    return LiveSecrets({}, [source], clock)


def accepts(live: LiveSecrets, secret: str) -> bool:
    """Whether a signature of that secret is accepted now."""
    header = sign(b"{}", secret=SigningSecret(secret), timestamp=1)
    try:
        verify(b"{}", header, secrets=live.signing_secrets(), now_seconds=1, tolerance_seconds=300)
    except cp.InvalidSignature:
        return False
    return True


def test_a_new_key_is_taken_up_once_the_old_one_is_a_minute_old(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    source.now["stripe_secret_key"] = "sk_test_2"
    clock.turn(59.9)
    assert live.secret_key() == "sk_test_1"
    assert source.looks == 1
    clock.turn(0.1)
    assert live.secret_key() == "sk_test_2"
    assert live.secret_key() == "sk_test_2"
    assert source.looks == 2


def test_a_clock_that_is_set_back_does_not_put_the_next_look_off(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    source.now["stripe_secret_key"] = "sk_test_2"
    clock.turn(-10 * DAY)
    assert live.secret_key() == "sk_test_2"


def test_an_old_webhook_secret_is_accepted_until_its_end_and_never_again(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    source.now["stripe_webhook_secret"] = "whsec_2"
    clock.turn(60)
    assert accepts(live, "whsec_2")
    assert accepts(live, "whsec_1")
    # It was last seen at the start, a minute before the look that missed it.
    clock.turn(DAY - 61)
    assert accepts(live, "whsec_1")
    clock.turn(1)
    assert not accepts(live, "whsec_1")
    assert accepts(live, "whsec_2")
    clock.turn(60)
    assert not accepts(live, "whsec_1")


def test_the_end_counts_from_when_the_secret_was_last_seen(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    clock.turn(600)
    assert accepts(live, "whsec_1")
    source.now["stripe_webhook_secret"] = "whsec_2"
    # Nobody asked for two days: it may have been replaced ever since.
    clock.turn(2 * DAY)
    assert accepts(live, "whsec_2")
    assert not accepts(live, "whsec_1")


def test_a_secret_that_comes_back_is_as_good_as_new(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    for secret in ("whsec_2", "whsec_1"):
        source.now["stripe_webhook_secret"] = secret
        clock.turn(60)
        assert accepts(live, secret)
    for _ in range(3):
        clock.turn(DAY / 2)
        assert accepts(live, "whsec_1")
    assert not accepts(live, "whsec_2")


def test_of_several_secrets_only_the_one_that_is_missing_ends(
    source: Source, clock: TurnableClock
) -> None:
    source.now["stripe_webhook_secret"] = "whsec_1,whsec_2"
    live = LiveSecrets({"webhook_secret_overlap_seconds": 0}, [source], clock)
    assert accepts(live, "whsec_1")
    source.now["stripe_webhook_secret"] = "whsec_2,whsec_3"
    clock.turn(60)
    assert [accepts(live, f"whsec_{number}") for number in (1, 2, 3)] == [False, True, True]


def test_replaced_secrets_are_kept_up_to_a_bound(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    for number in range(2, 20):
        source.now["stripe_webhook_secret"] = f"whsec_{number}"
        clock.turn(60)
        live.signing_secrets()
    assert len(live.signing_secrets()) == 1 + RETIRED_MAX
    assert accepts(live, "whsec_18")
    assert not accepts(live, "whsec_1")


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("stripe_secret_key", "", "it is empty"),
        ("stripe_secret_key", "topsecret", "copy it again"),
        ("stripe_secret_key", "sk_live_topsecret", "has become a live key"),
        ("stripe_publishable_key", "pk_live_1", "take both keys from the same mode"),
        ("stripe_webhook_secret", "topsecret", "copy the signing secret"),
        ("stripe_webhook_secret", "", "it is empty"),
        ("stripe_secret_key", None, "no source holds stripe_secret_key any more"),
        ("stripe_webhook_secret", None, "no source holds stripe_webhook_secret any more"),
    ],
)
def test_what_cannot_be_used_leaves_the_last_good_value_and_is_told_once(
    live: LiveSecrets,
    source: Source,
    clock: TurnableClock,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str | None,
    why: str,
) -> None:
    source.now.pop(name, None)
    source.now |= {} if value is None else {name: value}
    for _ in range(3):
        clock.turn(DAY)
        assert live.secret_key() == "sk_test_1"
        assert accepts(live, "whsec_1")
    [told] = caplog.records
    assert told.levelno == logging.ERROR
    assert why in told.getMessage()
    assert "topsecret" not in caplog.text


def test_what_is_wrong_with_one_secret_does_not_hold_up_another(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    source.now = {"stripe_secret_key": "sk_live_2", "stripe_webhook_secret": "whsec_2"}
    clock.turn(60)
    assert accepts(live, "whsec_2")
    assert live.secret_key() == "sk_test_1"


def test_a_test_key_does_not_replace_a_live_one(clock: TurnableClock) -> None:
    source = Source({"stripe_secret_key": "sk_live_1"})
    live = LiveSecrets({}, [source], clock)
    source.now["stripe_secret_key"] = "sk_test_1"
    clock.turn(60)
    assert live.secret_key() == "sk_live_1"
    source.now["stripe_secret_key"] = "rk_live_2"
    clock.turn(60)
    assert live.secret_key() == "rk_live_2"


def test_a_first_key_is_taken_up_where_it_is_a_test_key(clock: TurnableClock) -> None:
    source = Source()
    live = LiveSecrets({}, [source], clock)
    assert live.livemode is None
    source.now["stripe_secret_key"] = "sk_live_1"
    clock.turn(60)
    assert live.secret_key() is None
    source.now["stripe_secret_key"] = "sk_test_1"
    clock.turn(60)
    assert live.secret_key() == "sk_test_1"
    assert live.livemode is False


def test_a_first_live_key_needs_a_start(clock: TurnableClock) -> None:
    assert LiveSecrets({}, [Source({"stripe_secret_key": "sk_live_1"})], clock).livemode is True


# -- sources that fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [VaultUnavailable(), ConfigurationError("gone"), ZeroDivisionError("topsecret")]
)
def test_a_source_that_fails_leaves_the_last_values_and_is_told_once_an_outage(
    live: LiveSecrets,
    source: Source,
    clock: TurnableClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    caplog.set_level(logging.INFO, "credit_payments.config")
    source.now["stripe_secret_key"] = "sk_test_2"
    for _ in range(2):
        source.error = error
        for _ in range(3):
            clock.turn(60)
            live.secret_key()
        source.error = None
        clock.turn(60)
        assert live.secret_key() == "sk_test_2"
    levels = [record.levelname for record in caplog.records if "Replaced" not in record.message]
    assert levels == ["WARNING", "INFO", "WARNING", "INFO"]
    assert "topsecret" not in caplog.text


def test_a_source_that_failed_is_not_one_that_was_seen_to_hold_a_secret(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    source.error = VaultUnavailable()
    for _ in range(3):
        clock.turn(DAY)
        assert accepts(live, "whsec_1")
    source.error = None
    source.now["stripe_webhook_secret"] = "whsec_2"
    clock.turn(60)
    assert not accepts(live, "whsec_1")


def test_an_optional_source_that_fails_at_the_start_is_passed_over(
    clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    vault = Source({"stripe_secret_key": "sk_test_vault"}, "Vault", error=VaultUnavailable())
    files = Source({"stripe_secret_key": "sk_test_file"}, "files")
    with pytest.raises(VaultUnavailable):
        LiveSecrets({}, [vault, files], clock)
    vault.optional = True
    live = LiveSecrets({}, [vault, files], clock)
    assert live.secret_key() == "sk_test_file"
    assert live.origins == {"stripe_secret_key": "files"}
    assert "Vault is passed over" in caplog.text
    files.now["stripe_secret_key"] = "sk_test_file2"
    clock.turn(60)
    assert live.secret_key() == "sk_test_file2"
    assert len(caplog.records) == 1
    vault.error = None
    clock.turn(60)
    assert live.secret_key() == "sk_test_vault"
    assert live.origins == {"stripe_secret_key": "Vault"}


# -- looking early -----------------------------------------------------------------------------


def test_a_refused_key_has_the_sources_looked_at_before_it_is_time(
    live: LiveSecrets, source: Source
) -> None:
    assert live.secret_key_after("sk_test_1") is None
    source.now["stripe_secret_key"] = "sk_test_2"
    assert live.secret_key_after("sk_test_1") == "sk_test_2"
    looks = source.looks
    assert live.secret_key_after("sk_test_1") == "sk_test_2"
    assert source.looks == looks


def test_an_unknown_signature_has_the_sources_looked_at_before_it_is_time(
    live: LiveSecrets, source: Source
) -> None:
    seen = live.signing_secrets()
    assert not live.signing_secrets_after(seen)
    source.now["stripe_webhook_secret"] = "whsec_2"
    [other] = live.signing_secrets_after(seen)
    assert other not in seen
    assert not live.signing_secrets_after(live.signing_secrets())


def test_how_often_it_is_looked_early_is_bounded(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    for _ in range(100):
        live.signing_secrets_after(live.signing_secrets())
        live.secret_key_after("sk_test_1")
    assert source.looks == 1 + EARLY_LOOKS_MAX
    clock.turn(60)
    live.secret_key_after("sk_test_1")
    assert source.looks == 2 + EARLY_LOOKS_MAX


def test_those_who_are_refused_while_another_looks_wait_for_what_it_finds(
    live: LiveSecrets, source: Source
) -> None:
    looking, go_on = threading.Event(), threading.Event()
    found: list[str | None] = []

    def pause() -> None:
        looking.set()
        assert go_on.wait(30)

    source.during = pause
    source.now["stripe_secret_key"] = "sk_test_2"
    threads = [
        threading.Thread(target=lambda: found.append(live.secret_key_after("sk_test_1")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert looking.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert found == ["sk_test_2"] * 4
    assert source.looks == 2


def test_no_more_than_a_few_wait_for_a_source_that_hangs(
    live: LiveSecrets, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_live, "HURRY_SECONDS", 0.0)
    looking, go_on = threading.Event(), threading.Event()
    found: list[str | None] = []

    def pause() -> None:
        looking.set()
        assert go_on.wait(30)

    def ask() -> None:
        found.append(live.secret_key_after("sk_test_1"))

    source.during = pause
    source.now["stripe_secret_key"] = "sk_test_2"
    threads = [threading.Thread(target=ask) for _ in range(40)]
    threads[0].start()
    assert looking.wait(30)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 30
    while len(found) < 40 - config_live.WAITERS_MAX and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found == [None] * (40 - config_live.WAITERS_MAX)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert found[-config_live.WAITERS_MAX :] == ["sk_test_2"] * config_live.WAITERS_MAX


def test_who_needs_a_secret_while_another_looks_gets_the_one_that_is_known(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        looking.set()
        assert go_on.wait(30)

    source.during = pause
    source.now["stripe_secret_key"] = "sk_test_2"
    clock.turn(60)
    thread = threading.Thread(target=live.secret_key)
    thread.start()
    assert looking.wait(30)
    assert live.secret_key() == "sk_test_1"
    go_on.set()
    thread.join(30)
    assert live.secret_key() == "sk_test_2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_looks_though_its_parent_was_looking_when_it_forked(
    live: LiveSecrets, source: Source, clock: TurnableClock
) -> None:
    source.now["stripe_secret_key"] = "sk_test_2"
    clock.turn(60)
    with live._turn().taken(0.0):
        child = os.fork()
        if child == 0:
            os._exit(0 if live.secret_key() == "sk_test_2" else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# -- what is not looked for --------------------------------------------------------------------


def test_what_was_given_by_name_and_what_is_switched_off_is_never_looked_for_again(
    source: Source, clock: TurnableClock
) -> None:
    names = ("stripe_secret_key", "stripe_publishable_key", "stripe_webhook_secret")
    given: dict[str, Any] = dict.fromkeys(names)
    for overrides in (
        {**given, "stripe_secret_key": "sk_test_1"},
        {"secrets_refresh_seconds": None},
    ):
        live = LiveSecrets(overrides, [source], clock)
        source.now["stripe_secret_key"] = "sk_test_2"
        looks = source.looks
        clock.turn(2 * DAY)
        assert live.secret_key() == "sk_test_1"
        assert live.secret_key_after("sk_test_1") is None
        assert source.looks == looks
        source.now["stripe_secret_key"] = "sk_test_1"


def test_nothing_shows_a_secret(live: LiveSecrets, source: Source, clock: TurnableClock) -> None:
    source.now["stripe_webhook_secret"] = "whsec_2"
    clock.turn(60)
    live.signing_secrets()
    fixed = FixedSecrets(secret_key="sk_test_1", webhook_secrets=["whsec_1"])
    for shown in (live, live._held, *live._held.retired, fixed):
        assert "sk_test" not in repr(shown)
        assert "whsec" not in repr(shown)
    for secrets in (live, fixed):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secrets)
        with pytest.raises(TypeError, match="not pickled"):
            copy.copy(secrets)


def test_fixed_secrets_are_what_they_are() -> None:
    fixed = FixedSecrets(secret_key="sk_test_1", webhook_secrets=["whsec_1", ""])
    assert fixed.secret_key() == "sk_test_1"
    assert fixed.secret_key_after("sk_test_1") is None
    assert len(fixed.signing_secrets()) == 1
    assert not fixed.signing_secrets_after(fixed.signing_secrets())
