"""Webhook signatures in Stripe's scheme: HMAC-SHA256 over ``"{timestamp}.{body}"``.

Source: https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hmac

__all__ = ["signature_header"]


def signature_header(payload: bytes, *, secret: str, timestamp: int) -> str:
    """Return the value of the ``Stripe-Signature`` header for these exact bytes.

    Example:
        >>> signature_header(b"{}", secret="whsec_simulator", timestamp=1)[:7]
        't=1,v1='
    """
    signed = str(timestamp).encode() + b"." + payload
    return f"t={timestamp},v1={hmac.digest(secret.encode(), signed, 'sha256').hex()}"
