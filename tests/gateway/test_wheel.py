"""The wheel without the tree: installed where nothing else of it is, in an empty folder, with an empty home."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel; what the wheel needs comes from the environment of the tests."""

    binaries: Path
    folder: Path
    """Empty, and where commands run."""
    home: Path
    """Empty."""

    @property
    def environ(self) -> dict[str, str]:
        """Hardly any."""
        return {"PATH": f"{self.binaries}:/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built and installed."""
    scratch = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(scratch), folder=ROOT)
    (wheel,) = scratch.glob("*.whl")
    done(sys.executable, "-m", "venv", "--without-pip", str(scratch / "env"), folder=scratch)
    binaries = scratch / "env" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", str(binaries / "python"), "--disable-pip-version-check")
    done(*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel), folder=scratch)
    (site,) = (scratch / "env" / "lib").glob("python3.*/site-packages")
    # Without the .pth files in it, of which one names the tree.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in ("folder", "home"):
        (scratch / name).mkdir()
    return Installed(binaries, scratch / "folder", scratch / "home")


def done(*command: str, folder: Path) -> None:
    """Run a command that has to succeed."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"


def left_of(session: int) -> list[str]:
    """Return the names of the processes of a session, zombies left out."""
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (process / "stat").read_text().rpartition(") ")
            if int(rest.split()[3]) == session and not rest.startswith("Z"):
                names.append(name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return names


def nothing_left_of(session: int) -> bool:
    """Wait a while for the last process of a session to end, and say whether it has."""
    end = time.monotonic() + 30
    while left_of(session) and time.monotonic() < end:
        time.sleep(0.1)
    return not left_of(session)


@pytest.mark.timeout(300)
def test_the_tree_is_not_needed(installed: Installed) -> None:
    """The modules and the files that they read are the wheel's."""
    code = "import gateway, providers; print(gateway.__file__); print(providers.__file__)"
    command = [str(installed.binaries / "python"), "-c", code]
    told = subprocess.run(
        command, cwd=installed.folder, env=installed.environ, capture_output=True, text=True, check=True
    )
    assert all(line.startswith(str(installed.binaries.parent)) for line in told.stdout.splitlines())


@pytest.mark.timeout(300)
def test_the_demo_runs_and_leaves_its_overlays_alone(installed: Installed) -> None:
    """It ends with 0 within two minutes, and leaves four pictures, nothing else in folder or home, and no process."""
    began = time.monotonic()
    demo = subprocess.Popen(
        [str(installed.binaries / "maskgate"), "demo"],
        cwd=installed.folder,
        env=installed.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    printed, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, printed
    assert time.monotonic() - began < 120
    assert "Equal to the micro-dollar" in printed
    assert nothing_left_of(demo.pid)
    names = ["coffee-failover.png", "coffee-local.png", "coffee-prodia.png", "coffee-runflow.png"]
    assert [f"demo-output/{name}" for name in names] == files_in(installed.folder)
    assert [] == files_in(installed.home)


def files_in(folder: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.timeout(300)
def test_the_gateway_serves_on_a_sandbox_which_ends_with_it(installed: Installed) -> None:
    """A known picture by its documented address is segmented; killed without warning, the gateway leaves nobody."""
    serve = subprocess.Popen(
        [str(installed.binaries / "maskgate"), "serve", "--sandbox", "--port", "0"],
        cwd=installed.folder,
        env=installed.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert serve.stderr is not None
        lines = iter(serve.stderr.readline, "")
        url = next(found[1] for line in lines if (found := re.search(r"Maskgate on (http://\S+)", line)))
        ask = {"image": {"url": "https://example.com/input.jpg"}, "prompt": "person"}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/v1/segmentations", json.dumps(ask).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            told = json.load(answer)
        assert ["person"] == [instance["label"] for instance in told["instances"]]
        assert [[]] == [each["warnings"] for each in told["answers"]]
        with opener.open(f"{url}/docs", timeout=60) as answer:
            assert answer.status == 200
    finally:
        serve.kill()
        serve.communicate(timeout=60)
    assert nothing_left_of(serve.pid)
