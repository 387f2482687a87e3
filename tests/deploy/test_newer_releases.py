"""
The lock files install on any later day, when there are newer releases of everything in them.

The index of that day is a folder: for everything pinned a wheel of that version, which requires what the real one
requires, and one of a version 9999. The pip is the one that each Python brings with it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.check_locks import installed_requires, read_locks, read_pins

ROOT = Path(__file__).parents[2]
NEWER = "9999"


def _pythons() -> list[str]:
    """Return this Python, and Debian's own where it is another one that we support."""
    asked = "import sys; print(*sys.version_info[:3], sep='.')"
    found = {".".join(map(str, sys.version_info[:3])): sys.executable}
    if Path("/usr/bin/python3").exists():
        debian = subprocess.run(["/usr/bin/python3", "-c", asked], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, debian.strip().split("."))) >= (3, 11):
            found.setdefault(debian.strip(), "/usr/bin/python3")
    return list(found.values())


def wheel(folder: Path, name: str, version: str, requires: list[str], extras: frozenset[str]) -> str:
    """Write a wheel that holds nothing; return the SHA-256 of it in hex."""
    stem = f"{re.sub('[-_.]+', '_', name)}-{version}"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Provides-Extra: {extra}" for extra in sorted(extras)),
        *(f"Requires-Dist: {each}" for each in requires),
    ]
    files = {
        f"{stem}.dist-info/METADATA": "\n".join(metadata) + "\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{file},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for file, text in files.items()
    ]
    files[f"{stem}.dist-info/RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,"]) + "\n"
    file = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        for path, text in files.items():
            packed.writestr(path, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def later_day(folder: Path, lock: str) -> str:
    """Fill a folder with the releases of a later day; return the lock file with the hashes of that folder's wheels."""
    lines = [line for line in lock.splitlines() if line.startswith("--only-binary")]
    for pin in read_pins(lock):
        requires = installed_requires(pin.name, pin.version) or []
        hashed = wheel(folder, pin.name, pin.version, requires, pin.extras)
        wheel(folder, pin.name, NEWER, requires, pin.extras)
        lines.append(f"{pin.requirement} --hash=sha256:{hashed}")
    return "\n".join(lines) + "\n"


def install(pip: list[str], folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """Have pip find out what it would install from a lock file, and ask nobody but that folder."""
    file = folder / "lock.txt"
    file.write_text(lock)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [*pip, "install", "--dry-run", "--no-index", "--find-links", str(folder), "--require-hashes", "-r", str(file)],
        env=environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("python", _pythons())
def test_newer_releases_change_nothing(tmp_path: Path, python: str) -> None:
    """With the pip that comes with Python each lock file installs what it pins, whatever else the index holds."""
    subprocess.run(["sh", str(ROOT / "deploy" / "make_venv.sh"), python, str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv" / "bin" / "python"), "-m", "pip"]
    locks = read_locks(ROOT)
    for number, lock in enumerate(locks.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = install(pip, folder, later_day(folder, lock))
        assert done.returncode == 0, done.stderr
        would = done.stdout.partition("Would install ")[2].split()
        assert len(would) >= len(read_pins(lock)) * 0.8
        assert not any(each.endswith(f"-{NEWER}") for each in would)
    lock = later_day(tmp_path / "1", locks["tests/requirements.lock"]).replace("coverage[toml]==", "coverage==")
    refused = install(pip, tmp_path / "1", lock)
    assert refused.returncode != 0, "without the extra pip would ask for another release: the test has shown nothing"
