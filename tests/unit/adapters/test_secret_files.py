from __future__ import annotations

import os
from pathlib import Path

import pytest

from credit_payments.adapters.secret_files import SECRET_BYTES_MAX, SecretFiles
from credit_payments.errors import ConfigurationError

NAME = "stripe_secret_key"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_line_ends_at_the_end_are_dropped(tmp_path: Path, end: str) -> None:
    (tmp_path / NAME).write_bytes(b"sk_test_1" + end.encode())
    assert SecretFiles(tmp_path).get(NAME) == "sk_test_1"


def test_other_white_space_is_kept_for_the_settings_to_refuse(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(" sk_test_1 \n")
    assert SecretFiles(tmp_path).get(NAME) == " sk_test_1 "


def test_a_file_that_is_missing_is_none(tmp_path: Path) -> None:
    assert SecretFiles(tmp_path).get(NAME) is None


def test_a_directory_that_is_missing_is_none(tmp_path: Path) -> None:
    assert SecretFiles(tmp_path / "nowhere").get(NAME) is None


def test_a_directory_that_is_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert SecretFiles(tmp_path / "file").get(NAME) is None


def test_a_symbolic_link_is_followed_as_kubernetes_mounts_secrets(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / NAME).write_text("sk_test_1\n")
    (tmp_path / NAME).symlink_to(tmp_path / "..data" / NAME)
    assert SecretFiles(tmp_path).get(NAME) == "sk_test_1"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    # A link to itself cannot be opened by root either, unlike a file without permissions.
    (tmp_path / NAME).symlink_to(tmp_path / NAME)
    with pytest.raises(ConfigurationError, match=f"{NAME} cannot be read"):
        SecretFiles(tmp_path).get(NAME)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("sk_test_1")
    (tmp_path / NAME).chmod(0)
    with pytest.raises(ConfigurationError, match="permissions"):
        SecretFiles(tmp_path).get(NAME)


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(ConfigurationError, match="not a regular file"):
        SecretFiles(tmp_path).get(NAME)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        SecretFiles(tmp_path).get(NAME)


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"x" * SECRET_BYTES_MAX)
    assert SecretFiles(tmp_path).get(NAME) == "x" * SECRET_BYTES_MAX
    (tmp_path / NAME).write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(ConfigurationError, match="larger than"):
        SecretFiles(tmp_path).get(NAME)


def test_bytes_that_are_no_text_are_refused_and_not_kept_in_the_error(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"sk_test_\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8") as caught:
        SecretFiles(tmp_path).get(NAME)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "", "a/b", "a\0b"])
def test_a_name_cannot_lead_out_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="letters"):
        SecretFiles(tmp_path).get(name)


def test_the_name_of_the_source_tells_where_it_looks(tmp_path: Path) -> None:
    assert SecretFiles(tmp_path).name == f"secret files in {tmp_path}"
    assert SecretFiles().name == "secret files in /secrets"
    assert repr(SecretFiles()) == "SecretFiles('/secrets')"
