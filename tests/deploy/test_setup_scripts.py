"""What holds for the scripts behind make, on machines that lack something. The lacking tools are stand-ins on PATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(folder: Path, name: str, script: str) -> Path:
    """Put an executable shell script into a folder."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def sh(script: str, *arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts, with *path* before everything else on PATH."""
    before = [str(path)] if path is not None else []
    environ = os.environ | {"PATH": os.pathsep.join([*before, "/usr/bin", "/bin"])}
    command = ["sh", str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_environment_is_made_where_python_has_venv(tmp_path: Path) -> None:
    """A Python with venv makes an environment with pip in it."""
    done = sh("deploy/make_venv.sh", sys.executable, tmp_path / "venv")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "venv" / "bin" / "pip").exists()


def test_missing_python_is_named(tmp_path: Path) -> None:
    """A Python that is not there is named, with Debian's packages and the way to name another."""
    done = sh("deploy/make_venv.sh", "python9.9", tmp_path / "venv")
    assert done.returncode == 1
    assert "python9.9" in done.stderr
    assert "python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_old_python_is_refused(tmp_path: Path) -> None:
    """A Python below 3.11 is refused with its version."""
    old = tool(tmp_path / "bin", "oldpython", 'case "$1" in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    done = sh("deploy/make_venv.sh", old, tmp_path / "venv")
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr


def test_python_without_venv_names_debians_package(tmp_path: Path) -> None:
    """Where ensurepip is missing and nothing may be installed, the package to install is named."""
    bare = f'case "$2" in *ensurepip*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac'
    python = tool(tmp_path / "bin", "barepython", bare)
    tool(tmp_path / "bin", "apt-get", "exit 100")
    tool(tmp_path / "bin", "sudo", "exit 1")
    done = sh("deploy/make_venv.sh", python, tmp_path / "venv", path=tmp_path / "bin")
    assert done.returncode == 1
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in done.stderr


def test_servers_that_are_there_are_left_alone(tmp_path: Path) -> None:
    """Where everything is installed nothing is said and nothing is done."""
    tool(tmp_path / "bin", "wrk", "exit 0")
    done = sh("tests/setup_servers.sh", "wrk", path=tmp_path / "bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("tools", [{"id": "echo 1000", "sudo": "exit 1"}, {"id": "echo 1000", "apt-get": "exit 100"}])
def test_servers_that_may_not_be_installed_are_named(tmp_path: Path, tools: dict[str, str]) -> None:
    """Where nothing may be installed the packages are named, and the tests go on without them."""
    for name, script in {"sudo": "exit 1", **tools}.items():
        tool(tmp_path / "bin", name, script)
    done = sh("tests/setup_servers.sh", "no-such-server", "no-such-database", path=tmp_path / "bin")
    assert done.returncode == 0
    assert "apt-get install no-such-server no-such-database" in done.stdout


def test_make_says_what_it_can_do() -> None:
    """Plain `make` lists the targets, those of a contributor among them."""
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"demo", "test", "test-all", "test-local", "soak", "serve", "check", "bench", "lock"} <= listed


EVERY_TIER = ["demo", "check", "test-local", "test-all", "test"]


@pytest.mark.parametrize("two", [True, False])
def test_continuous_integration_runs_every_tier(tmp_path: Path, *, two: bool) -> None:
    """It runs everything on one Python, and demo, check and test on another one in an environment of its own."""
    tool(tmp_path / "bin", "make", f'echo "$@" >> {tmp_path}/made')
    tool(tmp_path / "bin", "one", "echo 3.11.7")
    other = tool(tmp_path / "bin", "other", "echo 3.11.2" if two else "echo 3.11.7")
    environ = os.environ | {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYTHON": "one", "OTHER_PYTHON": str(other)}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environ, capture_output=True, text=True, check=True)
    made = (tmp_path / "made").read_text().splitlines()
    first = [f"{target} PYTHON=one" for target in EVERY_TIER]
    beside = [f"{target} PYTHON={other} VENV=.venv-3.11.2" for target in ("demo", "check", "test")]
    assert [*beside, *first] == made if two else first == made
    assert two is not ("only one Python" in done.stdout)


def test_continuous_integration_stops_at_the_first_failure(tmp_path: Path) -> None:
    """What fails ends it with a failure, and nothing runs after it."""
    tool(tmp_path / "bin", "make", f'echo "$1" >> {tmp_path}/made; [ "$1" != check ]')
    tool(tmp_path / "bin", "one", "echo 3.11.7")
    environ = os.environ | {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYTHON": "one", "OTHER_PYTHON": "none"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert ["demo", "check"] == (tmp_path / "made").read_text().splitlines()
