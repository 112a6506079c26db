"""Any request to any endpoint: an answer in JSON, and never an error that was not foreseen.

An input is the number of a route as one byte, and then, each behind a separator, the part of its
path, the query, the body and the idempotency key.
"""

from __future__ import annotations

import json
import re

from tests.fuzz import harness

with harness.instrumented():
    import credit_payments as cp
    from credit_payments.http import ROUTES, Api, Request

from tests.fuzz.seeds import SEPARATOR
from tests.support import hostile

_ANSWER_BYTES_MAX = 64 * 1024
_system = cp.connect(database="memory://", stripe_webhook_secret="whsec_test_only")
for number in range(5):
    _system.wallets.grant("ada", 10, key=f"grant{number}", reason="welcome")
_saved = hostile.Saved(_system._storage)
_api = Api(_system)


def one(data: bytes) -> set[str]:
    _saved.put_back()
    route = ROUTES[data[0] % len(ROUTES) if data else 0]
    part, query, body, key = (data[1:].split(SEPARATOR) + [b""] * 4)[:4]
    names = re.findall(r"{(\w+)}", route.path)
    headers = {"content-type": "application/json", "stripe-signature": key.decode("latin-1")}
    if key:
        headers["idempotency-key"] = key.decode("latin-1")
    request = Request(
        method=route.method,
        path_params=dict.fromkeys(names, part.decode("utf-8", "surrogateescape")),
        query=query,
        headers=headers,
        body=body,
    )
    response = _api.handle(route, request, "ada")
    answer = json.loads(response.body)
    assert len(response.body) <= _ANSWER_BYTES_MAX
    if response.status >= 500:
        # Nothing but Stripe's key is missing here.
        assert answer["error_code"] == cp.NotConfigured().error_code, answer
    return {f"{response.status // 100}xx"}


if __name__ == "__main__":
    harness.run(one)
