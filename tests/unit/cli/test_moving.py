"""`credit-payments export` and `import`."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import credit_payments as cp
from credit_payments.cli.commands import commands


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'credits.db'}"
    with cp.connect(database=url) as system:
        system.wallets.grant("ada", 10, key="opening", reason="opening")
    return url


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments)


def test_what_is_exported_is_imported(database: str, tmp_path: Path) -> None:
    file, target = tmp_path / "dump.jsonl", f"sqlite:///{tmp_path / 'target.db'}"
    done = _run("export", "--database", database, str(file))
    assert (done.exit_code, done.stderr) == (
        0, "exported 3 rows: 1 entries in 1 wallets, and everything fits.\n"
    )  # fmt: skip
    assert file.stat().st_mode & 0o077 == 0, "others may read it"
    done = _run("import", "--database", target, str(file))
    assert (done.exit_code, done.stderr.split()[0]) == (0, "imported")
    with cp.connect(database=target) as system:
        assert system.wallets.balance("ada").available == 10
    again = _run("import", "--database", target, str(file))
    assert (again.exit_code, "blank" in again.stderr) == (2, True)
    assert _run("import", "--resume", "--database", target, str(file)).exit_code == 0


def test_a_dash_is_standard_output(database: str) -> None:
    done = _run("export", "--database", database, "-")
    assert len(done.stdout.splitlines()) == 1 + 3 + 1


def test_a_link_stays_one_and_what_it_points_to_is_written(database: str, tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "dump.jsonl"
    file.write_text("old")
    link.symlink_to(file)
    assert _run("export", "--database", database, str(link)).exit_code == 0
    assert link.is_symlink()
    assert file.read_text() != "old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_written_to_and_not_replaced(database: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert _run("export", "--database", database, str(pipe)).exit_code == 0
    reader.join(10)
    assert len(read[0].splitlines()) == 5
    assert pipe.is_fifo()


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "dump.jsonl"
    file.write_text("old")
    done = _run("export", "--database", f"sqlite:///{tmp_path / 'missing.db'}", str(file))
    assert (done.exit_code, done.stderr) == (
        2, f"Error: There is no database {tmp_path / 'missing.db'}.\n"
    )  # fmt: skip
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["dump.jsonl"]


def test_a_folder_that_is_missing_is_named(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    done = _run("export", "--database", database, str(folder / "dump.jsonl"))
    assert (done.exit_code, done.stderr) == (
        2, f"Error: [Errno 2] No such file or directory: '{folder}'\n"
    )  # fmt: skip


def test_a_blank_file_is_no_database_to_export(tmp_path: Path) -> None:
    blank = tmp_path / "blank.db"
    blank.touch()
    done = _run("export", "--database", f"sqlite:///{blank}", "-")
    assert (done.exit_code, "no schema yet" in done.stderr) == (2, True)
    assert blank.stat().st_size == 0
