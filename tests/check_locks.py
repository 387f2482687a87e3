"""
Check that the lock files are in step with `pyproject.toml`, whole, and in step with one another: `make check` runs it.

It asks no package index and resolves nothing. From the lock files it reads that every requirement of the project is
pinned to a version that it allows, that everything pinned has a hash, that a package has one version in all lock files,
that wheels alone may be installed, and that no address of an index is written down. From what is installed here it
reads what each pinned package requires, with the extras that it is pinned with, on each Python that `TARGETS` names:
that is pinned as well, in a version and with the extras that are asked for. Otherwise pip would ask the index for it,
and what it installs would change with the next release of anything.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "tests/requirements.lock", "deploy/build.lock", "tests/resolver.lock")
WHEELS_ALONE = "--only-binary :all:"
#: The versions of CPython, on Linux, for which what the packages require is looked up: Debian 12's own comes first.
TARGETS = ("3.11.2", "3.11.7", "3.12.0", "3.13.0")

_PIN = re.compile(r"^[A-Za-z0-9._-]+(\[[^]]*\])?==[^\\]+")
_INDEX = re.compile(r"^\s*(--(extra-)?index-url|--find-links|-i|-f)\b|://", re.MULTILINE)

Requires = Callable[[str, str], Iterable[str] | None]
"""From a package's canonical name and its version to what it requires; None where it is not installed."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a lock file."""

    name: str
    version: str
    extras: frozenset[str]
    requirement: Requirement

    def holds(self, environment: Mapping[str, str]) -> bool:
        """Whether it is installed in such an environment."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate(dict(environment))


def read_pins(lock: str) -> list[Pin]:
    """Return what a lock file's text pins."""
    pins = []
    for line in lock.splitlines():
        if found := _PIN.match(line):
            pinned = Requirement(found[0].strip())
            (specifier,) = pinned.specifier
            extras = frozenset(canonicalize_name(extra) for extra in pinned.extras)
            pins.append(Pin(canonicalize_name(pinned.name), specifier.version, extras, pinned))
    return pins


def environment_of(python: str) -> dict[str, str]:
    """Return what markers are evaluated with on that CPython, on Linux."""
    minor = ".".join(python.split(".")[:2])
    linux = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    names = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    versions = {"python_version": minor, "python_full_version": python, "implementation_version": python}
    return {**{name: str(value) for name, value in default_environment().items()}, **linux, **names, **versions}


def unhashed(lock: str) -> list[str]:
    """Return the lines that pin something without a hash on the line after."""
    lines = lock.splitlines()
    following = [*lines[1:], ""]
    return [line for line, after in zip(lines, following, strict=True) if _PIN.match(line) and "--hash=" not in after]


def lacking(text: str, pins: Mapping[str, Pin]) -> str | None:
    """Return how a requirement is not met by what is pinned, None where it is."""
    requirement = Requirement(text)
    pin = pins.get(canonicalize_name(requirement.name))
    if pin is None:
        return "not pinned"
    if not requirement.specifier.contains(pin.version, prereleases=True):
        return f"pinned to {pin.version}"
    if missing := {canonicalize_name(extra) for extra in requirement.extras} - pin.extras:
        return f"pinned without the extra {', '.join(sorted(missing))}"
    return None


def open_ends(lock: str, wanted: Iterable[str], requires: Requires, python: str) -> list[str]:
    """Return a sentence for each requirement, of the project or of what is pinned, that is not met on that CPython."""
    environment = environment_of(python)
    pins = {pin.name: pin for pin in read_pins(lock) if pin.holds(environment)}
    asking = [("pyproject.toml", frozenset[str](), wanted)]
    asking += [
        (f"{pin.name} {pin.version}", pin.extras, requires(pin.name, pin.version) or ()) for pin in pins.values()
    ]
    problems = []
    for who, extras, requirements in asking:
        for text in requirements:
            marker = Requirement(text).marker
            holds = marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))
            if holds and (problem := lacking(text, pins)):
                problems.append(f"{who} requires {text}: {problem} (CPython {python})")
    return problems


def not_installed(lock: str, requires: Requires) -> list[str]:
    """Return a sentence for each package that should be installed here and is not: nothing is known of it."""
    here = {name: str(value) for name, value in default_environment().items()}
    return [
        f"{pin.name} {pin.version} is not installed here: run make setup"
        for pin in read_pins(lock)
        if pin.holds(here) and requires(pin.name, pin.version) is None
    ]


def disagreements(locks: Mapping[str, str]) -> list[str]:
    """Return a sentence for each package that has different versions in different lock files."""
    seen: dict[str, tuple[str, str]] = {}
    problems = []
    for file, lock in locks.items():
        pins = read_pins(lock)
        for name in dict.fromkeys(pin.name for pin in pins):
            versions = " or ".join(sorted(pin.version for pin in pins if pin.name == name))
            first_file, first = seen.setdefault(name, (file, versions))
            if first != versions:
                problems.append(f"{name} is {first} in {first_file} and {versions} in {file}")
    return problems


def check(pyproject: str, locks: Mapping[str, str], requires: Requires) -> list[str]:
    """
    Return everything that is wrong.

    Args:
        pyproject: the text of `pyproject.toml`.
        locks: the text of each lock file by its path.
        requires: what the packages require, as far as it is known.
    """
    declared = tomllib.loads(pyproject)
    project, groups = declared["project"], declared["dependency-groups"]
    runtime, extras = project["dependencies"], project["optional-dependencies"]
    wanted = {
        "requirements.lock": runtime,
        "tests/requirements.lock": [*runtime, *extras["dev"], *extras["heic"]],
        "deploy/build.lock": groups["build"],
        "tests/resolver.lock": groups["resolver"],
    }
    problems = disagreements(locks)
    if declared["build-system"]["requires"] != groups["build"]:
        problems.append("pyproject.toml: [build-system] requires and the dependency group build differ")
    for file, lock in locks.items():
        for python in TARGETS:
            problems += [f"{file}: {problem}" for problem in open_ends(lock, wanted[file], requires, python)]
        problems += [f"{file}: no hash for {line}" for line in unhashed(lock)]
        if WHEELS_ALONE not in lock.splitlines():
            problems.append(f"{file}: it does not say {WHEELS_ALONE}: pip would build what has no wheel")
        if _INDEX.search(lock):
            problems.append(f"{file}: it names the address of a package index")
    return problems


def installed_requires(name: str, version: str) -> list[str] | None:
    """Return what a package that is installed here requires; None where that version is not."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return (found.requires or []) if found.version == version else None


def read_locks(root: Path) -> dict[str, str]:
    """Return the text of each lock file below *root*, by its path."""
    return {file: (root / file).read_text() for file in LOCKS}


def main() -> int:
    """Say what is wrong and return 1, or return 0."""
    locks = read_locks(ROOT)
    problems = check((ROOT / "pyproject.toml").read_text(), locks, installed_requires)
    for file in ("tests/requirements.lock", "deploy/build.lock"):
        problems += not_installed(locks[file], installed_requires)
    verdict = (
        "Lock files are not in step or not whole: run make lock" if problems else "Lock files are in step and whole."
    )
    sys.stdout.write("\n".join([*problems, verdict]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
