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


def nothing(_name: str, _version: str) -> None:
    """Know of no package what it requires."""


def test_the_repository_is_in_step(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """Everything that is required is pinned with a hash, extras included, as a wheel, and no index is named."""
    assert check_locks.check(pyproject, locks, check_locks.installed_requires) == []


def test_requirement_that_is_not_pinned_is_found(
    check_locks: ModuleType, pyproject: str, locks: dict[str, str]
) -> None:
    """A dependency added to pyproject.toml alone is named for each lock file that lacks it, on every Python."""
    changed = pyproject.replace('    "typer>=0.29",\n', '    "typer>=0.29",\n    "left-pad>=1",\n')
    assert check_locks.check(changed, locks, nothing) == [
        f"{file}: pyproject.toml requires left-pad>=1: not pinned (CPython {python})"
        for file in ("requirements.lock", "tests/requirements.lock")
        for python in check_locks.TARGETS
    ]


def test_pin_that_is_too_old_is_found(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """A requirement raised above its pin is named with the pin."""
    problems = check_locks.check(pyproject.replace('"typer>=0.29"', '"typer>=900"'), locks, nothing)
    assert problems
    assert all("typer>=900: pinned to" in problem for problem in problems)


def test_extra_that_is_not_pinned_is_found(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """pytest-cov requires coverage[toml]: pinned as coverage alone, pip would look for another release of it."""
    file = "tests/requirements.lock"
    assert "\ncoverage[toml]==" in locks[file]
    locks[file] = locks[file].replace("\ncoverage[toml]==", "\ncoverage==")
    problems = check_locks.check(pyproject, locks, check_locks.installed_requires)
    assert len(problems) == len(check_locks.TARGETS)
    assert all("coverage[toml]>=" in problem and ": pinned without the extra toml" in problem for problem in problems)


def test_what_an_extra_brings_is_looked_up(check_locks: ModuleType) -> None:
    """What a package requires under an extra counts where it is pinned with it, and markers are those of a Python."""
    known = {"a": ['b>=2; extra == "more"', 'c; python_full_version < "3.11.3"', 'd; sys_platform == "win32"'], "b": []}
    lock = "a[more]==1 \\\n    --hash=x\nb==1\n"
    problems = check_locks.open_ends(lock, ["a"], lambda name, _: known[name], "3.11.2")
    assert problems == [
        'a 1 requires b>=2; extra == "more": pinned to 1 (CPython 3.11.2)',
        'a 1 requires c; python_full_version < "3.11.3": not pinned (CPython 3.11.2)',
    ]
    assert check_locks.open_ends("a==1\n", ["a"], lambda name, _: known[name], "3.12.0") == []


def test_two_versions_of_one_package_are_found(check_locks: ModuleType, pyproject: str, locks: dict[str, str]) -> None:
    """A package pinned differently in two lock files is named with both."""
    locks["deploy/build.lock"] = locks["deploy/build.lock"].replace("pluggy==1.7.0", "pluggy==1.6.0")
    problems = check_locks.check(pyproject, locks, nothing)
    assert problems == ["pluggy is 1.7.0 in tests/requirements.lock and 1.6.0 in deploy/build.lock"]


def test_missing_hash_index_address_and_source_are_found(
    check_locks: ModuleType, pyproject: str, locks: dict[str, str]
) -> None:
    """A pin without a hash, the address of an index, and a lock file that lets pip build from source are named."""
    locks["requirements.lock"] = "--index-url https://packages.example/simple\n" + locks["requirements.lock"]
    locks["tests/requirements.lock"] += "added==1.0\n"
    locks["deploy/build.lock"] = locks["deploy/build.lock"].replace("--only-binary :all:", "")
    problems = check_locks.check(pyproject, locks, nothing)
    assert "requirements.lock: it names the address of a package index" in problems
    assert "tests/requirements.lock: no hash for added==1.0" in problems
    assert any(problem.startswith("deploy/build.lock: it does not say --only-binary") for problem in problems)
