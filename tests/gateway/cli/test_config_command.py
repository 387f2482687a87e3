"""What holds for `maskgate config check` and `maskgate openapi`."""

import json
from pathlib import Path

import pytest
import yaml

from gateway.cli.failures import FAILED, WRONG_COMMAND_LINE
from tests.gateway.house import Command

GOOD = """\
deployments:
  - name: here
    provider: local
    model: classic
    region: local
    price: {usd: "0", unit: second, valid_from: "2026-01-01", source: "own machine"}
"""


def test_good_file_can_be_used(maskgate: Command, tmp_path: Path) -> None:
    """A file without problems is exit code 0."""
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    result = maskgate("config", "check", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{file} can be used.\n", "")
    assert json.loads(maskgate("config", "check", file, "--json").stdout) == {
        "file": str(file),
        "usable": True,
        "problems": [],
    }


def test_every_problem_has_its_line(maskgate: Command, tmp_path: Path) -> None:
    """Each problem is named with file, line and column, as a compiler does."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("region:", "regoin:").replace('usd: "0"', "usd: 0.5"))
    result = maskgate("config", "check", file)
    assert result.exit_code == FAILED
    lines = result.stderr.splitlines()
    assert any(line.startswith(f"{file}:5:") and "regoin" in line for line in lines)
    assert any(line.startswith(f"{file}:6:") and "usd" in line for line in lines)
    problems = json.loads(maskgate("config", "check", file, "--json").stdout)["problems"]
    assert sorted(problem["line"] for problem in problems) == [5, 6]


def test_what_only_a_provider_knows_is_checked_too(maskgate: Command, tmp_path: Path) -> None:
    """A model that its provider does not have is found before any traffic."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("model: classic", "model: baroque"))
    result = maskgate("config", "check", file)
    assert result.exit_code == FAILED
    assert "baroque" in result.stderr


def test_file_that_is_not_there_is_named(maskgate: Command, tmp_path: Path) -> None:
    """A missing file is a problem like any other."""
    result = maskgate("config", "check", tmp_path / "none.yaml")
    assert result.exit_code == FAILED
    assert "none.yaml" in result.stderr


def test_description_is_compared_with_the_app(maskgate: Command, tmp_path: Path) -> None:
    """A written description is equal to the app's until one of them changes; then the difference is shown."""
    file = tmp_path / "openapi" / "openapi.json"
    assert maskgate("openapi", "--out", file).exit_code == 0
    assert maskgate("openapi").stdout == file.read_text()
    assert maskgate("openapi", "--check", file).exit_code == 0
    file.write_text(file.read_text().replace("/v1/quotes", "/v1/quotas"))
    result = maskgate("openapi", "--check", file)
    assert result.exit_code == FAILED
    assert "/v1/quotas" in result.stdout
    assert f"maskgate openapi --out {file}" in result.stderr


def test_missing_description_is_not_equal(maskgate: Command, tmp_path: Path) -> None:
    """A description that was never written is named with the command that writes it."""
    result = maskgate("openapi", "--check", tmp_path / "openapi.json")
    assert result.exit_code == FAILED
    assert "--out" in result.stderr


def test_writing_and_comparing_at_once_is_refused(maskgate: Command, tmp_path: Path) -> None:
    """One of the two is meant."""
    file = tmp_path / "openapi.json"
    assert maskgate("openapi", "--check", file, "--out", file).exit_code == WRONG_COMMAND_LINE
    assert not file.exists()


SHOWN = """\
deployments:
  - name: eu
    provider: runflow
    model: meta/sam-3/image
    region: eu
    endpoint: https://eu.example
    credential: ${CANARY_KEY}
    callback_secrets: ["${CANARY_CALLBACK}"]
"""


def test_configuration_that_holds_is_shown_without_its_secrets(
    maskgate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defaults and list prices are filled in, and what was printed can be checked as a configuration."""
    monkeypatch.setenv("CANARY_KEY", "canary-credential")
    monkeypatch.setenv("CANARY_CALLBACK", "canary-callback")
    monkeypatch.setenv("MASKGATE_DATABASE_URL", "postgresql://maskgate:canary-password@db/maskgate")
    file = tmp_path / "maskgate.yaml"
    file.write_text(SHOWN)
    result, as_json = maskgate("config", "show", file), maskgate("config", "show", file, "--json")
    assert (0, 0) == (result.exit_code, as_json.exit_code)
    assert "canary" not in f"{result.output}{as_json.output}"
    shown = yaml.safe_load(result.stdout)
    assert {"file": str(file), "configuration": shown} == {
        name: value for name, value in json.loads(as_json.stdout).items() if name != "environment"
    }
    (deployment,) = shown["deployments"]
    assert ("0.005", "success") == (deployment["price"]["usd"], deployment["price"]["unit"])
    assert "# MASKGATE_DATABASE_URL=********" in result.stdout.splitlines()
    again = tmp_path / "again.yaml"
    again.write_text(result.stdout)
    assert 0 == maskgate("config", "check", again).exit_code


def test_what_the_environment_makes_is_shown(maskgate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file, the providers whose keys are in the environment are there, and the keys are not."""
    monkeypatch.setenv("RUNFLOW_API_KEY", "canary-credential")
    result = maskgate("config", "show")
    assert 0 == result.exit_code
    assert "canary" not in result.output
    assert {"runflow", "local"} <= {each["provider"] for each in yaml.safe_load(result.stdout)["deployments"]}


def test_unusable_configuration_is_not_shown(maskgate: Command, tmp_path: Path) -> None:
    """What is wrong is said as `check` says it."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("region:", "regoin:"))
    result = maskgate("config", "show", file)
    assert (FAILED, "") == (result.exit_code, result.stdout)
    assert "regoin" in result.stderr


def test_problem_of_a_provider_has_its_line(maskgate: Command, tmp_path: Path) -> None:
    """What only a provider knows is named with file, line and column too."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("model: classic", "model: baroque"))
    (line,) = maskgate("config", "check", file).stderr.splitlines()
    assert line.startswith(f"{file}:4:12: deployments[0] (here): model: ")
