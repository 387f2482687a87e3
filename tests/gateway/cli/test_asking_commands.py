"""What holds for the commands that ask a gateway for facts, and for how they find one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import connection
from gateway.cli.failures import FAILED, NO_GATEWAY, WRONG_COMMAND_LINE
from gateway.cli.main import app
from tests.gateway.house import Command, House


def test_quote_names_who_would_be_asked_and_who_not(maskgate: Command, shoes: Path, house: House) -> None:
    """A quote has the candidates in their order, the others with their reasons, and spends nothing."""
    billed = house.billed()
    result = maskgate("quote", shoes, "--text", "left shoe")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    order = [name for line in lines for name in ("prodia", "runflow-eu", "runflow-us", "local-classic") if name in line]
    assert order == ["prodia", "runflow-eu", "runflow-us", "local-classic"]
    assert "unsupported_capability" in next(line for line in lines if "local-classic" in line)
    assert house.billed() == billed


def test_quote_nobody_could_answer_fails(maskgate: Command, shoes: Path) -> None:
    """A question that no named deployment takes is a quote without candidates, and exit code 1."""
    result = maskgate("quote", shoes, "--text", "left shoe", "--deployment", "local-classic", "--json")
    assert result.exit_code == FAILED
    assert json.loads(result.stdout)["questions"][0]["candidates"] == []
    assert "unsupported_capability" in result.stderr


def test_quote_of_a_file_that_is_not_there(maskgate: Command, tmp_path: Path) -> None:
    """A picture that cannot be read is named, and nobody is asked."""
    result = maskgate("quote", tmp_path / "nothing.png", "--text", "shoe")
    assert result.exit_code == WRONG_COMMAND_LINE
    assert "nothing.png cannot be read: No such file" in result.stderr


def test_deployments_are_listed_with_price_and_health(maskgate: Command) -> None:
    """Every deployment of the configuration is there, as a table and as JSON."""
    names = ["runflow-eu", "runflow-us", "prodia", "local-classic"]
    table = maskgate("deployments").stdout
    assert [line.split()[0] for line in table.splitlines()[3:] if line.strip()] == names
    assert "$0.001100 a success" in table
    listed = json.loads(maskgate("deployments", "--json").stdout)
    assert [deployment["name"] for deployment in listed] == names


def test_usage_adds_up_what_was_spent(maskgate: Command, shoes: Path) -> None:
    """What a run charged is in the report of its tag, by deployment and in the sum."""
    before = json.loads(maskgate("usage", "--json", "--deployment", "runflow-us").stdout)["total"]["charged_microusd"]
    asked = ("segment", shoes, "--text", "right shoe", "--max-masks", 7, "--deployment", "runflow-us", "--json")
    charged = json.loads(maskgate(*asked).stdout)["answer"]["cost"]["charged_microusd"]
    report = json.loads(maskgate("usage", "--json", "--by", "deployment,day", "--deployment", "runflow-us").stdout)
    assert report["total"]["charged_microusd"] == before + charged
    assert {line["group"]["deployment"] for line in report["lines"]} == {"runflow-us"}
    table = maskgate("usage").stdout
    assert "runflow-us" in table
    assert table.splitlines()[-2].strip().startswith("total")
    assert "total" not in maskgate("usage", "--by", "").stdout


def test_gateways_refusal_is_one_sentence(maskgate: Command) -> None:
    """A problem of the gateway is its code, its field and its message, and exit code 1."""
    result = maskgate("usage", "--by", "moon")
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert result.stderr.startswith("maskgate: invalid_request (by): cannot divide by 'moon'")


def test_unreachable_gateway_has_an_exit_code_of_its_own(maskgate: Command, unused_port: int) -> None:
    """A gateway that does not listen is exit code 3."""
    result = maskgate("deployments", "--url", f"http://127.0.0.1:{unused_port}")
    assert (result.exit_code, result.stdout) == (NO_GATEWAY, "")
    assert f"127.0.0.1:{unused_port} cannot be reached" in result.stderr


def test_what_is_no_gateway_is_told_apart(maskgate: Command, house: House) -> None:
    """A server that answers something else is named as no gateway."""
    result = maskgate("deployments", "--url", f"{house.control_url}/scenes/shoes.png?")
    assert result.exit_code == FAILED
    assert "does not speak Maskgate's API" in result.stderr


def test_without_a_gateway_one_runs_for_the_command(
    shoes: Path, tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing listens an embedded gateway answers, says so on stderr, and keeps its ledger for the next time."""
    monkeypatch.setattr(connection, "PORT", unused_port)
    state = tmp_path / "state"
    environ = {"MASKGATE_STATE_DIR": str(state), "MASKGATE_URL": None, "MASKGATE_CONFIG": None, "MASKGATE_KEY": None}
    asked = ["segment", str(shoes), "--auto", "--json"]
    result = CliRunner().invoke(app, asked, env=environ)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["answer"]["answers"][0]["provider"] == "local"
    assert f"No gateway on 127.0.0.1:{unused_port}" in result.stderr
    report = CliRunner().invoke(app, ["usage", "--json"], env=environ)
    assert json.loads(report.stdout)["total"]["settled"] == 1
    assert (state / "gateway.log").exists()


def test_embedded_gateway_that_cannot_start_says_why(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that cannot be opened is exit code 3 and one sentence."""
    monkeypatch.setattr(connection, "PORT", unused_port)
    environ = {
        "MASKGATE_STATE_DIR": str(tmp_path),
        "MASKGATE_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{unused_port}/none",
        "MASKGATE_URL": None,
        "MASKGATE_CONFIG": None,
    }
    result = CliRunner().invoke(app, ["deployments"], env=environ)
    assert result.exit_code == NO_GATEWAY
    assert "the gateway did not start" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_imports_nothing_heavy() -> None:
    """The list of commands needs neither the gateway nor the client nor any of their libraries."""
    program = "import sys, gateway.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"fastapi", "aiohttp", "numpy", "cv2", "PIL", "pydantic", "sqlalchemy", "uvicorn", "orjson"}
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize(
    "command", ["serve", "sandbox", "demo", "segment", "quote", "usage", "deployments", "openapi", "config check"]
)
def test_every_command_explains_itself(maskgate: Command, command: str) -> None:
    """Each command has a help text, and exit code 0 for it."""
    result = maskgate(*command.split(), "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5


def test_main_help_names_the_exit_codes(maskgate: Command) -> None:
    """What a script has to know stands in the help."""
    assert "Exit codes" in maskgate("--help").stdout
