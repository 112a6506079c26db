"""The settings of one system, checked together, and the chain in which they are looked for.

Nothing is read at import. `load_settings` takes what the application gives by name; what it does
not give comes from the secret sources, in their order, value by value.
"""

from credit_payments.config.settings import NAMES_IN_SOURCES, Settings, load_settings

__all__ = ["NAMES_IN_SOURCES", "Settings", "load_settings"]
