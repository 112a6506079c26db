from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sybil import Document
from sybil.document import PythonDocStringDocument
from sybil.parsers.myst import DocTestDirectiveParser, PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

import credit_payments

ROOT = Path(__file__).parents[2]

# Pieces of a host application, which no test can run as they stand.
FRAGMENTS = {"docs/how-to/fastapi.md", "docs/how-to/flask.md"}


def pages() -> Iterator[Any]:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        name = str(path.relative_to(ROOT))
        if name in FRAGMENTS or "_build" in path.parts:
            continue
        if "```python" in path.read_text(encoding="utf-8"):
            yield pytest.param(path, id=name)


def modules_with_examples() -> Iterator[Any]:
    for path in sorted(ROOT.glob("src/**/*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            yield pytest.param(path, id=str(path.relative_to(ROOT / "src")))


@pytest.fixture(autouse=True)
def a_newcomer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Examples run in an empty folder and without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("STRIPE_", "CREDIT_PAYMENTS_")):
            monkeypatch.delenv(name)


def evaluate(document: Document) -> None:
    for example in document:
        example.evaluate()


@pytest.mark.parametrize("path", list(pages()))
def test_the_code_on_a_page_runs(path: Path) -> None:
    parsers = (PythonCodeBlockParser(), DocTestDirectiveParser(), SkipParser())
    evaluate(Document.parse(str(path), *parsers))


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_a_piece_of_a_host_application_compiles_and_imports_what_exists(name: str) -> None:
    document = Document.parse(str(ROOT / name), PythonCodeBlockParser())
    examples = list(document)
    assert examples
    for example in examples:
        tree = ast.parse(str(example.parsed), name)
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, name, "exec"), {})


@pytest.mark.parametrize("path", list(modules_with_examples()))
def test_the_examples_in_docstrings_are_true(path: Path) -> None:
    parse: Callable[..., Document] = PythonDocStringDocument.parse
    document = parse(str(path), DocTestParser())
    assert list(document)
    evaluate(document)


def test_every_public_name_is_in_the_reference() -> None:
    reference = ROOT / "docs" / "reference"
    api = (reference / "api.md").read_text(encoding="utf-8")
    errors = (reference / "errors.md").read_text(encoding="utf-8")
    missing = [
        name
        for name in credit_payments.__all__
        if not re.search(rf"^\.\. auto\w+:: {name}$", api, re.MULTILINE)
        and f"`{name}` |" not in errors
    ]
    assert missing == []
