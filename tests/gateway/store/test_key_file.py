"""The key in the state folder: who may read it, and which file is believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.store.key_file import UnsafeKeyFile, key_file_prepared, read_key_file

KEY = "mg_" + "k" * 32


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with a key."""
    with key_file_prepared(tmp_path / "state", KEY) as file:
        file.keep()
    return tmp_path / "state"


def test_a_kept_key_is_its_owner_s_alone(kept: Path) -> None:
    """Folder and file are nobody else's, whatever the umask; nothing but the key is left behind."""
    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (kept, kept / "key")]
    assert (KEY, ["key"]) == (read_key_file(kept), [path.name for path in kept.iterdir()])


def test_a_key_that_was_not_kept_is_gone(kept: Path) -> None:
    """A key that another process has made stays; one that was only prepared leaves nothing."""
    with key_file_prepared(kept, "mg_another"):
        assert 2 == len(list(kept.iterdir()))
    assert (KEY, 1) == (read_key_file(kept), len(list(kept.iterdir())))


def _linked(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def _piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


UNSAFE: dict[str, tuple[Callable[[Path], object], str]] = {
    "others may read it": (lambda file: file.chmod(0o604), "chmod 600"),
    "the group may read it": (lambda file: file.chmod(0o640), "chmod 600"),
    "others may write it": (lambda file: file.chmod(0o602), "chmod 600"),
    "a link": (_linked, "cannot be read"),
    "a pipe": (_piped, "no plain file"),
    "too long": (lambda file: file.write_text("m" * 600), "holds no key"),
    "another's words": (lambda file: file.write_text("mg_a\r\nHost: x"), "holds no key"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_file_is_not_believed(kept: Path, name: str) -> None:
    """What others can read or change, or what is no key at all, is refused by name."""
    spoil, why = UNSAFE[name]
    spoil(kept / "key")
    with pytest.raises(UnsafeKeyFile, match=why):
        read_key_file(kept)


def test_another_user_s_file_is_not_believed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another owner is refused, also where it can be read."""
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(UnsafeKeyFile, match="another user"):
        read_key_file(kept)


def test_no_key_is_none(tmp_path: Path) -> None:
    """No folder, no file and an empty file are all the same: there is no key."""
    assert read_key_file(tmp_path / "nowhere") is None
    assert read_key_file(tmp_path) is None
    (tmp_path / "key").touch(mode=0o600)
    assert read_key_file(tmp_path) is None
