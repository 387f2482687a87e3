"""What holds for the image: the commands of its Dockerfile are run, outside of any container, in a clean folder."""

import fnmatch
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import Stage, read_stages
from tests.ports import free_row

ROOT = Path(__file__).parents[2]
BUILD, FINAL = read_stages(ROOT / "deploy" / "Dockerfile")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the build stage with a folder in the place of `/`, and return that folder."""
    root = tmp_path_factory.mktemp("image")
    build = root / "build"
    build.mkdir()
    for instruction in BUILD.instructions:
        if instruction.word == "COPY":
            copy(instruction.rest.split(), build)
        elif instruction.word == "RUN":
            # The image keeps no download; here that of the set-up may serve again, and only what runs is compiled.
            command = instruction.rest.replace("/opt/", f"{root}/opt/").replace("--no-cache-dir ", "")
            command = command.replace("pip install ", "pip install --no-compile ")
            run(command, cwd=build)
    return root


def copy(names: list[str], build: Path) -> None:
    """Copy files and folders of the repository as COPY does."""
    *sources, target = names
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, build / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder = build / target
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, folder)


def run(command: str, *, cwd: Path) -> None:
    """Run one command of the build with this Python as `python`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@contextmanager
def container(image: Path, command: list[str], *, ready: str, state: Path) -> Iterator[None]:
    """Run the image's entry point until *ready* stands on its stderr, and end it by SIGTERM after the block."""
    environment = {
        "PATH": f"{image}/opt/maskgate/bin:/usr/bin:/bin",
        "MASKGATE_STATE_DIR": str(state),
        "HOME": str(state),
    }
    entry = FINAL.one("ENTRYPOINT").command
    process = subprocess.Popen(
        [f"{image}/opt/maskgate/bin/{entry[0]}", *entry[1:], *command],
        cwd=state,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if ready in line:
                break
        else:
            pytest.fail(f"it ended without having started: {''.join(said)}")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=40)
    assert process.returncode in {0, -signal.SIGTERM}


def healthy(image: Path, command: list[str], port: int, checked: int) -> bool:
    """Whether a health check of the file passes, asked of *port* instead of the port it names."""
    python, *arguments = (part.replace(f":{checked}/", f":{port}/") for part in command)
    done = subprocess.run([f"{image}/opt/maskgate/bin/{python}", *arguments], capture_output=True, check=False)
    return done.returncode == 0


def test_both_stages_are_the_slim_python() -> None:
    """The image is Debian's slim Python; what builds it stays behind."""
    assert [BUILD.image, FINAL.image] == ["python:3.11-slim AS build", "python:3.11-slim"]
    assert [copied.rest for copied in FINAL.all("COPY")] == ["--from=build /opt/maskgate /opt/maskgate"]


def test_it_runs_as_nobody_in_particular() -> None:
    """The image runs under a numeric user that is not root, and stops on the signal that finishes requests."""
    assert FINAL.one("USER").rest == "10001:10001"
    assert FINAL.one("STOPSIGNAL").rest == "SIGTERM"


@pytest.mark.parametrize("stage", [BUILD, FINAL], ids=["build", "final"])
def test_no_secret_and_no_address_is_built_in(stage: Stage) -> None:
    """No instruction names a key, a token, a password or a package index."""
    for instruction in stage.instructions:
        assert not any(word in instruction.rest.lower() for word in ("key", "token", "password", "index-url", "://p"))


def test_everything_is_installed_by_hash() -> None:
    """Each pip install takes hashes from a lock file, or only the wheel that was built here."""
    installs = [run.rest for run in BUILD.all("RUN") if "pip install" in run.rest]
    assert len(installs) == 3
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_the_build_context_holds_what_is_copied_and_nothing_else() -> None:
    """The ignore file lets through exactly what COPY asks for."""
    lines = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for copying in BUILD.all("COPY") for source in copying.rest.split()[:-1]}
    assert lines[1] == "*"
    assert let_through == copied
    assert not any(fnmatch.fnmatch(".env", name) for name in let_through)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_image_serves(image: Path, tmp_path: Path) -> None:
    """The image's own command answers, its health check passes while it does, and fails before."""
    port = free_row(1)
    command = [str(port) if part == "8080" else part for part in FINAL.one("CMD").command]
    check = FINAL.one("HEALTHCHECK").command
    assert not healthy(image, check, port, 8080)
    with container(image, command, ready="Maskgate on", state=tmp_path):
        assert healthy(image, check, port, 8080)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=60) as answer:
            assert answer.status == 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_image_is_the_sandbox_too(image: Path, tmp_path: Path) -> None:
    """The command and the health check of the sandbox's container work in the same image."""
    sandbox = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["sandbox"]
    port = free_row(4)
    command = [str(port) if part == "9100" else part for part in sandbox["command"]]
    with container(image, command, ready="configuration", state=tmp_path):
        assert healthy(image, sandbox["healthcheck"]["test"][1:], port, 9100)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_image_holds_only_the_product(image: Path) -> None:
    """The wheel brings gateway and providers and the console script, and neither tests nor tools."""
    packages = image / "opt" / "maskgate" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    installed = {path.name for path in packages.iterdir()}
    assert {"gateway", "providers"} <= installed
    assert not {"tests", "deploy", "pytest", "hatchling", "mypy"} & installed
    assert (image / "opt" / "maskgate" / "bin" / "maskgate").exists()
