"""Runs the code of a page while the documentation is built.

A page with `executed: true` in its front matter is a program: its Python blocks, one after the
other, in a process of their own, warnings as errors. What the program prints must be what the
page's `text` blocks show. A page that lies breaks the build.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

_logger = logging.getLogger(__name__)
_SECONDS_MAX = 60


def _run_page(app: Sphinx, doctree: nodes.document) -> None:
    page = app.env.current_document.docname
    if not app.env.metadata[page].get("executed"):
        return
    program = "\n".join(_blocks(doctree, "python"))
    promised = "\n".join(_blocks(doctree, "text"))
    done = run_program(program)
    if done.returncode:
        _logger.warning("%s: its program failed:\n%s", page, done.stderr, location=page)
    elif done.stdout.strip() != promised.strip():
        _logger.warning(
            "%s: its program prints something else than the page shows:\n%s",
            page,
            done.stdout,
            location=page,
        )


def _blocks(doctree: nodes.document, language: str) -> list[str]:
    return [
        block.astext().strip("\n")
        for block in doctree.findall(nodes.literal_block)
        if block.get("language") == language
    ]


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an empty folder, without the settings of whoever builds."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STRIPE_", "CREDIT_PAYMENTS_"))
    }
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(  # noqa: S603 - the pages are our own
            [sys.executable, "-W", "error", "-c", program],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS_MAX,
            check=False,
        )


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", _run_page)
    return {"parallel_read_safe": True}
