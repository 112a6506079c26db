"""The database queue: every write of the library passes through it.

Callers hand in a command and wait. Whoever finds nobody writing leads: it takes all commands that
wait (a bounded batch, no timer), runs them as one database transaction and wakes the others, as
databases do group commit. So a caller that is alone pays no hand-over between threads, sixty-four
share one commit, and there is no writer thread that could die or be lost in a fork.

A rejected command answers its own caller and leaves no trace. When the database fails, the whole
batch runs again (decisions are pure, and every effect has a unique key, so a repetition after an
unknown commit finds what the first run left); what still fails is halved until the command at
fault stands alone.
"""

from credit_payments.posting.joining import HostTransaction, Poster
from credit_payments.posting.line import QueueHealth
from credit_payments.posting.queue import PostingQueue

__all__ = ["HostTransaction", "Poster", "PostingQueue", "QueueHealth"]
