"""What the core asks of whoever tells workers that there is something to do."""

from __future__ import annotations

from typing import Protocol


class Jobs(Protocol):
    """Carries word of stored events to workers, wherever they run.

    A hint and no more: the database knows what is to be done. A word that is lost, doubled or late
    changes nothing, because workers also look for themselves from time to time.
    """

    def enqueue(self, event_id: str) -> None:
        """Have a worker look at that event soon; raises whatever it likes when it cannot."""
        ...


class DatabaseJobs:
    """Says nothing: the database itself wakes the workers that watch it. The default."""

    def enqueue(self, event_id: str) -> None:
        """Nothing."""
