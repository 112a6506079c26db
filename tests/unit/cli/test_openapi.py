"""`credit-payments openapi`: the description without a system."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from credit_payments.cli.commands import commands
from credit_payments.http import document


def test_the_description_is_printed() -> None:
    result = CliRunner().invoke(commands, ["openapi"])
    assert result.exit_code == 0
    assert json.loads(result.output) == document()


def test_it_goes_to_a_file_with_the_mounts_that_are_said(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    mounts = ["--prefix", "/pay", "--health-prefix", ""]
    result = CliRunner().invoke(commands, ["openapi", *mounts, "--output", str(path)])
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(path.read_bytes()) == document(prefix="/pay", health_prefix=None)


def test_a_folder_that_is_missing_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "openapi.json"
    result = CliRunner().invoke(commands, ["openapi", "--output", str(path)])
    assert (result.exit_code, result.output) == (
        2, f"Error: [Errno 2] No such file or directory: '{path}'\n"
    )  # fmt: skip


@pytest.mark.parametrize("mount", ["pay", "/pay/", "/"])
def test_what_is_no_mount_is_refused(mount: str) -> None:
    for option in ("--prefix", "--health-prefix"):
        result = CliRunner().invoke(commands, ["openapi", option, mount])
        assert result.exit_code == 2
        assert "a mount begins with a slash" in result.output


def test_neither_a_framework_nor_a_driver_nor_stripe_is_loaded() -> None:
    code = (
        "import sys\n"
        "from credit_payments.cli.commands import commands\n"
        "commands(['openapi', '--output', sys.argv[1]], standalone_mode=False)\n"
        "found = {'flask', 'fastapi', 'starlette', 'stripe', 'pymongo', 'psycopg', 'sqlite3'}\n"
        "print(sorted(found & set(sys.modules)))\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code, "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert loaded.stdout.strip() == "[]"
