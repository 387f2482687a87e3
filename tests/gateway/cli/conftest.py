"""A gateway on sandbox upstreams, on real sockets, and the command line in front of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from tests.gateway.house import Command, House, house_running
from tests.ports import free_row


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a running gateway whose only upstreams are a sandbox's."""
    with house_running(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def maskgate(house: House) -> Command:
    """Return the command line in this process, with the running gateway and its state folder in its environment."""
    environ = {"MASKGATE_URL": house.url, "MASKGATE_STATE_DIR": str(house.state), "MASKGATE_CONFIG": None}

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environ)

    return run


@pytest.fixture
def shoes(house: House, tmp_path: Path) -> Path:
    """Return the picture file of a scene with a left and a right shoe."""
    file = tmp_path / "pictures" / "shoes.png"
    file.parent.mkdir()
    file.write_bytes(house.picture("shoes"))
    return file


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return this process's environment without anything of Maskgate's but a state folder of the test's own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKGATE_")}
    return ours | {"MASKGATE_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def unused_port() -> int:
    """Return a port that nobody listens on."""
    return free_row(1)
