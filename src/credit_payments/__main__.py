"""`python -m credit_payments …` is `credit-payments …`."""

from __future__ import annotations

from credit_payments.cli import main

if __name__ == "__main__":
    main()
