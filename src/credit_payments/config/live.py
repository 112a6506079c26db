"""Keys and webhook secrets that are replaced while the process runs."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NoReturn

from credit_payments import logs
from credit_payments.config.held import TOGETHER, WEBHOOK_SECRET, Held
from credit_payments.config.loading import Found, load, look_up, refresh
from credit_payments.domain.signature import SigningSecret
from credit_payments.errors import ConfigurationError
from credit_payments.ports.clock import Clock
from credit_payments.ports.secrets import SecretSource

EARLY_LOOKS_MAX = 6
EARLY_LOOKS_SECONDS = 60.0
"""How often a refusal may have the sources looked at before it is time: anybody can cause one."""
WAIT_SECONDS = 10.0
"""How long somebody whose secret was refused waits for another thread's look."""
WAITERS_MAX = 4
HURRY_SECONDS = 2.0
"""How many may wait for so long, and how long the others: or strangers, with signatures that fit no
secret, could hold every thread there is while a source hangs. A webhook that is refused meanwhile
is delivered again."""

_log = logs.logger(__name__)


class LiveSecrets:
    """The `CurrentSecrets` of a system: the last good values, looked for anew from time to time.

    Whoever needs a secret after `secrets_refresh_seconds` have passed looks at the sources, one
    thread at a time, while the others go on with what is known; there is no thread to start, to
    stop or to lose in a fork. A source that fails, or a value that cannot be used, leaves the last
    good value in place and is logged once. When Stripe refuses the key, or no secret fits a
    signature, the sources are looked at before it is time, up to `EARLY_LOOKS_MAX` times in
    `EARLY_LOOKS_SECONDS`.

    A webhook secret that another has replaced is accepted until `webhook_secret_overlap_seconds`
    after the source was last seen to hold it, and never again. A key of another mode is refused
    while the process runs, and so is a first key that is live: what was decided at the start, such
    as which databases may hold real money, would not hold.

    Args:
        overrides: fields of `Settings` by name, which no source changes.
        sources: where to look, first to last.
        clock: tells what is due, and what has ended.

    Raises:
        ConfigurationError: settings that cannot be used, or a source that cannot be read.
        TryAgain: a source that is not optional did not answer.
    """

    def __init__(
        self, overrides: Mapping[str, object], sources: Sequence[SecretSource], clock: Clock
    ) -> None:
        now = clock.now()
        loaded = load(overrides, sources)
        self.settings = loaded.settings
        """Those of the start; keys and webhook secrets may have been replaced since."""
        self._held = Held.of(loaded.settings, loaded.origins)
        self._groups = _watched(overrides) if loaded.settings.secrets_refresh_seconds else ()
        self._interval = timedelta(seconds=loaded.settings.secrets_refresh_seconds or 0)
        self._overlap = timedelta(seconds=loaded.settings.webhook_secret_overlap_seconds)
        self._sources = sources
        self._clock = clock
        self._looked_at = self._seen_at = now
        self._early: deque[datetime] = deque(maxlen=EARLY_LOOKS_MAX)
        self.troubles: Mapping[str, str] = loaded.troubles
        """See the port."""
        self._told = _sentence(loaded.troubles)
        self._turns: dict[int, _Turn] = {}

    def __repr__(self) -> str:
        return f"LiveSecrets(origins={dict(self.origins)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled: load them where they are used")

    @property
    def livemode(self) -> bool | None:
        """Whether the secret key moves real money; None without one."""
        return self._held.settings.livemode

    @property
    def origins(self) -> Mapping[str, str]:
        """Which source gave each setting that was not left at its default; no value."""
        return self._held.origins

    def secret_key(self) -> str | None:
        """Stripe's secret key, or None where there is none."""
        return self._current().settings.stripe_secret_key

    def secret_key_after(self, refused: str) -> str | None:
        """Another key than the one that Stripe refused, or None."""
        self._look_early(lambda: self._held.settings.stripe_secret_key != refused)
        key = self._held.settings.stripe_secret_key
        return None if key == refused else key

    def signing_secrets(self) -> Sequence[SigningSecret]:
        """The webhook secrets that the sources hold, then those whose end has not come."""
        held = self._current()
        # The clock is asked only while there is something whose time may be over.
        return held.accepted(self._clock.now()) if held.retired else held.signing

    def signing_secrets_after(self, seen: Sequence[SigningSecret]) -> Sequence[SigningSecret]:
        """Webhook secrets that are none of those seen; empty where a look finds none."""
        self._look_early(lambda: any(secret not in seen for secret in self._held.signing))
        accepted = self._held.accepted(self._clock.now())
        return [secret for secret in accepted if secret not in seen]

    # -- looking ------------------------------------------------------------------------------

    def _current(self) -> Held:
        if self._is_due():
            with self._turn().taken(0.0) as is_ours:
                if is_ours and self._is_due():
                    self._look()
        return self._held

    def _is_due(self) -> bool:
        # A clock that was set back must not put the next look off.
        return bool(self._groups) and not (
            timedelta(0) <= self._clock.now() - self._looked_at < self._interval
        )

    def _look_early(self, is_known: Callable[[], bool]) -> None:
        """Look at once, unless it is known already, or was asked for too often.

        Those who come while another looks wait for it: what they miss is what it finds.
        """
        if not self._groups or is_known():
            return
        turn = self._turn()
        with turn.patience() as seconds, turn.taken(seconds) as is_ours:
            if is_ours and not is_known() and self._may_look_early():
                self._look()

    def _may_look_early(self) -> bool:
        now = self._clock.now()
        if len(self._early) == EARLY_LOOKS_MAX:
            since = (now - self._early[0]).total_seconds()
            if 0 <= since < EARLY_LOOKS_SECONDS:
                return False
        self._early.append(now)
        return True

    def _turn(self) -> _Turn:
        """This process's: a fork may copy a lock that a thread holds which it does not copy."""
        process = os.getpid()
        return self._turns.get(process) or self._turns.setdefault(process, _Turn())

    def _look(self) -> None:
        now = self._looked_at = self._clock.now()
        try:
            failed = {name: error.message for name, error in refresh(self._sources).items()}
            self.troubles = failed
            names = [name for group in self._groups for name in group]
            found = look_up(names, self._sources)
        except Exception as error:  # noqa: BLE001 - whatever a source does, the last values hold
            message = error.message if isinstance(error, ConfigurationError) else None
            self._tell(message or type(error).__name__, logging.WARNING)
            return
        refusals = [
            refusal for group in self._groups for refusal in self._take(group, found, failed, now)
        ]
        level = logging.ERROR if refusals else logging.WARNING
        self._tell(_sentence(failed, *refusals), level)

    def _take(
        self, group: Sequence[str], found: Found, failed: Collection[str], now: datetime
    ) -> Iterator[str]:
        """Take over what a group has become; yields why it, or a part of it, stays as it was."""
        held, part = self._held, found.only(group)
        # What is gone everywhere is more likely an accident than a wish: it stays.
        gone = [n for n in group if n not in part.values and getattr(held.settings, n) is not None]
        if gone:
            yield f"no source holds {' or '.join(gone)} any more"
        try:
            taken = held.taking(part, retire_at=self._seen_at + self._overlap, now=now)
        except ConfigurationError as error:
            yield error.message
            return
        if WEBHOOK_SECRET in part.values and part.origins[WEBHOOK_SECRET] not in failed:
            self._seen_at = now
        if taken.settings is not held.settings:
            _log.info("Replaced while running: %s", ", ".join(part.values))
        self._held = taken

    def _tell(self, trouble: str, level: int) -> None:
        """Once an outage, however often it is looked."""
        if trouble and trouble != self._told:
            _log.log(level, "Secrets that the process holds stay in use: %s", trouble)
        elif self._told and not trouble:
            _log.info("All sources of secrets can be read again.")
        self._told = trouble


class _Turn:
    """Who looks, one at a time, and for how long others wait for that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITERS_MAX)
        self._began = math.inf

    @contextmanager
    def taken(self, seconds: float) -> Iterator[bool]:
        """Wait so long for the turn; whether it was got."""
        if not self._lock.acquire(timeout=seconds):
            yield False
            return
        self._began = time.monotonic()
        try:
            yield True
        finally:
            self._began = math.inf
            self._lock.release()

    @contextmanager
    def patience(self) -> Iterator[float]:
        """How long to wait: a few long, the others not for a look that takes long already."""
        if not self._places.acquire(blocking=False):
            is_slow = time.monotonic() - self._began > HURRY_SECONDS
            yield 0.0 if is_slow else HURRY_SECONDS
            return
        try:
            yield WAIT_SECONDS
        finally:
            self._places.release()


def _watched(overrides: Mapping[str, object]) -> tuple[tuple[str, ...], ...]:
    groups = (tuple(name for name in group if name not in overrides) for group in TOGETHER)
    return tuple(group for group in groups if group)


def _sentence(failed: Mapping[str, str], *others: str) -> str:
    return "; ".join([*(f"{name}: {message}" for name, message in failed.items()), *others])
