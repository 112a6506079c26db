"""What the core tells whoever measures it."""

from __future__ import annotations

from typing import Protocol

from credit_payments import logs
from credit_payments.domain import vitals

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)
"""For histograms: from one durable write alone to an event that waited for a worker."""

_log = logs.logger(__name__)


class Telemetry(Protocol):
    """Takes counts and timings; quick, from any thread, and raises nothing.

    Names are dotted (`credit_payments.webhooks`), attributes have few different values, and none of
    them is personal.
    """

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """Something has happened, so many times."""
        ...

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """Something took so long."""
        ...


class Silent:
    """Tells nobody: the default."""

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """Nothing."""

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """Nothing."""


class Several:
    """Tells several: a dashboard and a test, for example."""

    def __init__(self, *telemetries: Telemetry) -> None:
        self._telemetries = telemetries

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """See the port."""
        for telemetry in self._telemetries:
            telemetry.count(name, by, **attributes)

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """See the port."""
        for telemetry in self._telemetries:
            telemetry.took(name, seconds, **attributes)


class Guarded:
    """Tells another, and keeps to the port what that raises: what is counted is committed already.

    The first failure is logged, and not each of the many that may follow.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._has_failed = False

    def count(self, name: str, by: int = 1, /, **attributes: str) -> None:
        """See the port."""
        try:
            self._telemetry.count(name, by, **attributes)
        except Exception:  # noqa: BLE001 - whatever a backend raises
            self._failed(name)

    def took(self, name: str, seconds: float, /, **attributes: str) -> None:
        """See the port."""
        try:
            self._telemetry.took(name, seconds, **attributes)
        except Exception:  # noqa: BLE001 - as above
            self._failed(name)

    def _failed(self, name: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            _log.exception("The telemetry failed at %s; further failures are not logged.", name)


class Watched(Protocol):
    """Whose health may be plotted: `credit_payments.connect()` returns such a system."""

    def health(self) -> vitals.Health:
        """How it is now."""
        ...
