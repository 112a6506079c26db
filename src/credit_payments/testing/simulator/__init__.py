"""A Stripe that runs on this machine: stateful, deterministic, and willing to fail on request.

It speaks HTTP to the unmodified official SDK and sends signed webhooks, so an application that
sells credits can be tested whole, without a network and without an account at Stripe.
"""

from __future__ import annotations

from .clock import SimulatedClock
from .delivery import Attempt
from .faults import Faults
from .network import Arrival
from .problems import CardProblem, Problem
from .simulator import StripeSimulator
from .webhooks import Webhooks

__all__ = [
    "Arrival",
    "Attempt",
    "CardProblem",
    "Faults",
    "Problem",
    "SimulatedClock",
    "StripeSimulator",
    "Webhooks",
]
