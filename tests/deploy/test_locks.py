"""What the check of the lock files finds."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check_locks() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("check_locks", ROOT / "tests" / "check_locks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pyproject() -> str:
    """Return the text of pyproject.toml."""
    return (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def locks(check_locks: ModuleType) -> dict[str, str]:
    """Return the text of each lock file."""
    return check_locks.read_locks(ROOT)


def test_the_repository_is_in_step(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """Every requirement is pinned, once, with a hash, and no index is named."""
    assert check_locks.check(pyproject, locks) == []


def test_requirement_that_is_not_pinned_is_found(
    check_locks: ModuleType, pyproject: str, locks: dict[str, str]
) -> None:
    """A dependency added to pyproject.toml alone is named for each lock file that lacks it."""
    changed = pyproject.replace('    "typer>=0.29",\n', '    "typer>=0.29",\n    "left-pad>=1",\n')
    assert check_locks.check(changed, locks) == [
        "requirements.lock: left-pad>=1 is not pinned",
        "tests/requirements.lock: left-pad>=1 is not pinned",
    ]


def test_pin_that_is_too_old_is_found(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """A requirement raised above its pin is named with the pin."""
    changed = pyproject.replace('"typer>=0.29"', '"typer>=900"')
    assert all("typer>=900 is pinned to" in problem for problem in check_locks.check(changed, locks))
    assert len(check_locks.check(changed, locks)) == 2


def test_two_versions_of_one_package_are_found(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """A package pinned differently in two lock files is named with both."""
    locks["deploy/build.lock"] = locks["deploy/build.lock"].replace("pluggy==1.7.0", "pluggy==1.6.0")
    assert len([problem for problem in check_locks.check(pyproject, locks) if "pluggy is" in problem]) == 1


def test_missing_hash_and_index_address_are_found(
    check_locks: ModuleType, pyproject: str, locks: dict[str, str]
) -> None:
    """A pin without a hash and the address of an index are both named."""
    locks["requirements.lock"] = "--index-url https://packages.example/simple\n" + locks["requirements.lock"]
    locks["tests/requirements.lock"] += "added==1.0\n"
    problems = check_locks.check(pyproject, locks)
    assert "requirements.lock: it names the address of a package index" in problems
    assert "tests/requirements.lock: no hash for added==1.0" in problems
