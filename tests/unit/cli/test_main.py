from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import credit_payments
from credit_payments.cli.commands import commands

HEAVY = ("stripe", "flask", "fastapi", "sqlite3", "credit_payments.bootstrap")


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    setup = f"import sys; sys.path[:0] = {[str(each) for each in path]!r}\n"
    return subprocess.run(
        [sys.executable, "-c", setup + code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_version_is_the_packages() -> None:
    result = CliRunner().invoke(commands, ["--version"], prog_name="credit-payments")
    assert (result.exit_code, result.output) == (
        0,
        f"credit-payments {credit_payments.__version__}\n",
    )


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "credit_payments", "--version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == f"credit-payments {credit_payments.__version__}\n"


@pytest.mark.parametrize("command", ["health", "doctor", "migrate"])
def test_ctrl_c_does_not_exit_as_if_something_was_found(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    found = commands.commands[command]
    monkeypatch.setattr(found, "callback", interrupted)
    result = CliRunner().invoke(commands, [command])
    assert (result.exit_code, result.output) == (130, "Aborted!\n")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "from credit_payments.cli import main\n"
        "sys.argv = ['credit-payments', '--help']\n"
        "try:\n    main()\n"
        f"finally:\n    print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = run_python(code)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_without_click_the_extra_is_named_and_no_traceback_shown(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('No click', name='click')\n")
    done = run_python("from credit_payments.cli import main\nmain()\n", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "The credit-payments command needs an extra: pip install 'credit-payments[cli]'\n"
    )


def test_a_broken_click_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import a_part_of_click_that_is_gone\n")
    done = run_python("from credit_payments.cli import main\nmain()\n", tmp_path)
    assert done.returncode == 1
    assert "a_part_of_click_that_is_gone" in done.stderr


def test_the_demo_says_that_it_has_no_page_yet_and_how_to_run_it() -> None:
    result = CliRunner().invoke(commands, ["demo"])
    assert result.exit_code == 2
    assert "credit-payments demo --headless" in result.output


@pytest.mark.parametrize(
    ("framework", "missing", "remedy"),
    [
        ("flask", "flask", "pip install 'credit-payments[flask]'"),
        ("fastapi", "uvicorn", "pip install 'credit-payments[fastapi]' uvicorn"),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_its_remedy(
    framework: str, missing: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == missing else found(name)
    )
    result = CliRunner().invoke(
        commands, ["demo", "--headless", "--json", "--framework", framework]
    )
    assert result.exit_code == 1
    assert (result.stdout, result.stderr) == ("", f"The demo needs {missing}: {remedy}\n")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["openapi"],
        ["audit", "seal", "--database", "sqlite:///credits.db"],
        ["migrate", "--database", "sqlite:///credits.db"],
        ["export", "--database", "sqlite:///credits.db", "-"],
    ],
    ids=" ".join,
)
def test_a_full_disk_is_told_in_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    credit_payments.connect(database=f"sqlite:///{tmp_path}/credits.db").close()
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "credit_payments", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "Error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the output")
@pytest.mark.parametrize(
    "arguments", [["openapi"], ["export", "--database", "sqlite:///credits.db", "-"]], ids=" ".join
)
def test_an_output_that_is_closed_is_told_in_one_sentence(
    arguments: list[str], tmp_path: Path
) -> None:
    credit_payments.connect(database=f"sqlite:///{tmp_path}/credits.db").close()
    done = subprocess.run(
        ["sh", "-c", '"$0" -m credit_payments "$@" >&-', sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "Error: standard output is closed\n")


@pytest.mark.parametrize(
    "arguments", [["openapi"], ["export", "--database", "sqlite:///credits.db", "-"]], ids=" ".join
)
def test_a_reader_who_has_seen_enough_is_told_nothing(arguments: list[str], tmp_path: Path) -> None:
    credit_payments.connect(database=f"sqlite:///{tmp_path}/credits.db").close()
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "credit_payments", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
