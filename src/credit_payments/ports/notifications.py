"""What the core asks of whoever carries notifications on: a queue, a mailer, a handler."""

from __future__ import annotations

from typing import Protocol

from credit_payments.domain.values import Notification


class Notifier(Protocol):
    """Takes notifications, one at a time, perhaps more than once."""

    def send(self, notification: Notification) -> None:
        """Take it: returning means that it need not be sent again.

        Any exception means that it was not taken; it is sent again later, a bounded number of
        times. A process that dies meanwhile counts as an exception. `notification.id` is the same
        each time, so that whoever must not act twice can tell.
        """
        ...
