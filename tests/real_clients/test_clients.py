"""What is done to an example before it runs, and what is said where it cannot run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.real_clients.clients import (
    HERE,
    RUNFLOW_HOST,
    Missing,
    fenced,
    installed,
    lock_name,
    pointed,
    run_node,
    with_json_words,
)
from tests.real_clients.documents import RUNFLOW_1_PYTHON, RUNFLOW_2_EXAMPLES, RUNFLOW_3_CURL


def test_only_the_host_changes() -> None:
    """Pointed elsewhere and back again, an example is what it was."""
    there = pointed(RUNFLOW_3_CURL, upstream="http://here")
    assert there != RUNFLOW_3_CURL
    assert RUNFLOW_3_CURL == there.replace("http://here", RUNFLOW_HOST)


@pytest.mark.parametrize(("language", "lines"), [("python", 4), ("bash", 4), ("javascript", 1)])
def test_lost_lines(language: str, lines: int) -> None:
    """An example that lost its line breaks has back those that it needs, and is otherwise the same."""
    code = fenced(RUNFLOW_2_EXAMPLES, language)
    assert lines == len(code.splitlines())
    assert code.replace("\n", " ") in RUNFLOW_2_EXAMPLES


def test_json_words() -> None:
    """The example with JSON's words is no Python by itself, and is with them."""
    with pytest.raises(NameError):
        exec(RUNFLOW_1_PYTHON.partition("response")[0] + "false")
    assert with_json_words(RUNFLOW_1_PYTHON).endswith(RUNFLOW_1_PYTHON)


def test_lock() -> None:
    """The lock pins what package.json asks for, with a hash and without the address of a package index."""
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    lock = (HERE / "package-lock.json").read_text()
    packages = {path: package for path, package in json.loads(lock)["packages"].items() if path}
    assert {"prodia": "1.6.0"} == wanted
    assert {f"node_modules/{name}": version for name, version in wanted.items()} == {
        path: package["version"] for path, package in packages.items()
    }
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in lock
    assert "prodia-1.6.0" == lock_name(lock.encode())


def test_nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Node.js, it is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="no npm here: install Node"):
        installed(tmp_path)
    with pytest.raises(Missing, match="no node here: install Node"):
        run_node("", tmp_path)


def test_nothing_to_install_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where npm reaches no index, that is said, and nothing half installed is left to be believed."""
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\nmkdir node_modules\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    for _ in range(2):
        with pytest.raises(Missing, match=r"npm could not install Prodia's client, .*ENOTFOUND"):
            installed(tmp_path)
