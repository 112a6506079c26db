"""The settings of one system, checked together, and the chain in which they are looked for.

Nothing is read at import. `load_settings` takes what the application gives by name; what it does
not give comes from the secret sources, in their order, value by value. `LiveSecrets` goes on
looking for keys that are replaced while the process runs.
"""

from credit_payments.config.fixed import FixedSecrets
from credit_payments.config.live import LiveSecrets
from credit_payments.config.loading import load_settings
from credit_payments.config.settings import NAMES_IN_SOURCES, Settings

__all__ = ["NAMES_IN_SOURCES", "FixedSecrets", "LiveSecrets", "Settings", "load_settings"]
