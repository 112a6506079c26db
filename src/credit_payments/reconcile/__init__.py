"""Reconciliation: Stripe's records against the ledger, and posting what is missing.

The settlement is the oracle. Each object at Stripe is reported to it once more, to see what that
would change; with `repair`, the same commands are run that a webhook runs.
"""

from credit_payments.reconcile.reconciler import Reconciler

__all__ = ["Reconciler"]
