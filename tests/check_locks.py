"""
Check that the lock files are in step with `pyproject.toml` and with one another: `make check` runs it, offline.

It resolves nothing: it reads that every requirement is pinned to a version that it allows, that everything pinned has a
hash, that a package has one version in all lock files, and that no address of a package index is written down.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "tests/requirements.lock", "deploy/build.lock")

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<version>[^ ;\\]+)")
_INDEX = re.compile(r"^\s*(--(extra-)?index-url|--find-links|-i|-f)\b|://", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Return the pinned version by canonical name, of a lock file's text."""
    found = (_PIN.match(line) for line in lock.splitlines())
    return {canonicalize_name(pin["name"]): pin["version"] for pin in found if pin}


def unhashed(lock: str) -> list[str]:
    """Return the lines that pin something without a hash on the line after."""
    lines = lock.splitlines()
    following = [*lines[1:], ""]
    return [line for line, after in zip(lines, following, strict=True) if _PIN.match(line) and "--hash=" not in after]


def unmet(requirements: Iterable[str], pinned: Mapping[str, str]) -> list[str]:
    """Return a sentence for each requirement that the pinned versions do not meet."""
    problems = []
    for text in requirements:
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None:
            problems.append(f"{text} is not pinned")
        elif not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{text} is pinned to {version}")
    return problems


def disagreements(locks: Mapping[str, str]) -> list[str]:
    """Return a sentence for each package that has different versions in different lock files."""
    seen: dict[str, tuple[str, str]] = {}
    problems = []
    for file, lock in locks.items():
        for name, version in pins(lock).items():
            first_file, first = seen.setdefault(name, (file, version))
            if first != version:
                problems.append(f"{name} is {first} in {first_file} and {version} in {file}")
    return problems


def check(pyproject: str, locks: Mapping[str, str]) -> list[str]:
    """Return everything that is wrong, given the text of `pyproject.toml` and of each lock file by its path."""
    declared = tomllib.loads(pyproject)
    project = declared["project"]
    runtime, extras = project["dependencies"], project["optional-dependencies"]
    wanted = {
        "requirements.lock": runtime,
        "tests/requirements.lock": [*runtime, *extras["dev"], *extras["heic"]],
        "deploy/build.lock": declared["dependency-groups"]["build"],
    }
    problems = disagreements(locks)
    if declared["build-system"]["requires"] != declared["dependency-groups"]["build"]:
        problems.append("pyproject.toml: [build-system] requires and the dependency group build differ")
    for file, lock in locks.items():
        problems += [f"{file}: {problem}" for problem in unmet(wanted[file], pins(lock))]
        problems += [f"{file}: no hash for {line}" for line in unhashed(lock)]
        if _INDEX.search(lock):
            problems.append(f"{file}: it names the address of a package index")
    return problems


def read_locks(root: Path) -> dict[str, str]:
    """Return the text of each lock file below *root*, by its path."""
    return {file: (root / file).read_text() for file in LOCKS}


def main() -> int:
    """Say what is wrong and return 1, or return 0."""
    problems = check((ROOT / "pyproject.toml").read_text(), read_locks(ROOT))
    verdict = "Lock files differ from pyproject.toml: run make lock" if problems else "Lock files are in step."
    sys.stdout.write("\n".join([*problems, verdict]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
