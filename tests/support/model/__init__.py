"""Wallets in plain Python: what the rules say, with no thought of databases, batches or speed.

Written from the rules in words, so that the library has something else than itself to agree with.
Everything that is known lies open in dictionaries, each call works on a copy of one wallet that
replaces it when nothing was refused, and time passes moment by moment.
"""

from tests.support.model.calls import Model
from tests.support.model.facts import Payment
from tests.support.model.wallet import Hold, Refused, Wallet

__all__ = ["Hold", "Model", "Payment", "Refused", "Wallet"]
