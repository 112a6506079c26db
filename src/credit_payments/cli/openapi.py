"""`credit-payments openapi`: the endpoints' description, without a system behind them."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from credit_payments.cli.systems import standard_output, told
from credit_payments.http import document


def write(output: str, *, prefix: str, health_prefix: str | None) -> None:
    """Write the description as JSON; `-` is standard output."""
    for mount in filter(None, (prefix, health_prefix)):
        if not mount.startswith("/") or mount.endswith("/"):
            raise click.UsageError(f"a mount begins with a slash and ends with none: {mount}")
    described = msgspec.json.encode(document(prefix=prefix, health_prefix=health_prefix or None))
    text = msgspec.json.format(described, indent=2) + b"\n"
    with told():
        if output == "-":
            standard_output().write(text)
            standard_output().flush()
        else:
            Path(output).write_bytes(text)
