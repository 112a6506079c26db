"""The demo's Stripe: the simulator as a process that ends with its standard input."""

from __future__ import annotations

import argparse
import json
import sys

from credit_payments.testing.simulator import StripeSimulator

_DELIVERIES_AT_ONCE = 4  # as at Stripe, events do not come in order


def main() -> int:
    """Say where it is in one JSON line, then simulate until nobody listens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    with StripeSimulator(seed=given.seed, webhook_workers=_DELIVERIES_AT_ONCE) as simulator:
        ready = {
            "url": simulator.url,
            "secret_key": simulator.secret_key,
            "publishable_key": simulator.publishable_key,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
