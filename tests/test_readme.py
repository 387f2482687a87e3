"""What the README says is so: its commands, its request, its tables, its configuration."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import aiohttp
from typer.testing import CliRunner

from gateway.app import check_settings, create_app
from gateway.cli.main import app
from gateway.intake.body import RouteBody, SegmentationBody
from gateway.request import Strategy
from gateway.serving import running
from gateway.settings import load_settings, settings_from_yaml
from providers.contract import Mask
from tests import provider_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if not line.startswith("|--")
    ]


async def test_the_request_in_the_readme_brings_the_cup_and_its_saucer(tmp_path: Path) -> None:
    """The curl command, sent part by part to a gateway with embedded defaults, finds one thing and costs nothing."""
    command = next(block for block in _blocks("") if block.startswith("curl"))
    words = shlex.split(command.replace("\\\n", " "))
    settings = load_settings(config=None, environ={"MASKGATE_STATE_DIR": str(tmp_path)})
    with (tmp_path / "log").open("w") as log, running(lambda: create_app(settings, log_to=log)) as url:
        address = words[2].replace("http://127.0.0.1:8080", url)
        form = aiohttp.FormData()
        for part in (words[at + 1] for at, word in enumerate(words) if word == "-F"):
            name, value = part.split("=", 1)
            if value.startswith("@"):
                form.add_field(name, (ROOT / value[1:]).read_bytes(), filename=Path(value).name)
            else:
                text, _, content_type = value.partition(";type=")
                form.add_field(name, text, content_type=content_type)
        async with aiohttp.ClientSession() as session, session.post(address, data=form) as response:
            answer = await response.json()

    assert response.status == 200, answer
    (instance,) = answer["instances"]
    mask = Mask.from_counts((400, 600), instance["mask"]["counts"])
    assert mask.area == instance["area"]
    assert 0.6 < mask.area / (410 * 376) < 0.85  # an ellipse fills 0.79 of its box
    assert answer["cost"]["charged_microusd"] == 0


def test_the_make_targets_in_the_readme_exist() -> None:
    """Every `make` target that the README names is one of the Makefile's."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets


def test_the_commands_in_the_readme_exist() -> None:
    """Every `maskgate` command that the README names explains itself."""
    named = {row[0] for row in _rows("Run it") if row[0].startswith("`maskgate")}
    commands = {word for cell in named for word in re.findall(r"`(?:maskgate )?([a-z]+)", cell)} - {"maskgate"}

    groups = {"keys", "budgets", "ledger", "db", "config"}
    assert {"serve", "segment", "quote", "usage", "deployments", "openapi", "sandbox", "demo", *groups} == commands
    for command in commands:
        shown = CliRunner().invoke(app, [command, "--help"])
        assert shown.exit_code == 0, shown.output


def test_the_options_in_the_readme_exist() -> None:
    """The options that the README gives for a command are in that command's help."""
    for cell in (row[0] for row in _rows("Run it") if row[0].startswith("`maskgate")):
        words = cell.strip("`").split()
        options = re.findall(r"--[a-z-]+", cell.split("`")[1])
        if options and words[1].isalpha():
            shown = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "300", "TERM": "dumb"})
            for option in options:
                assert option in shown.output


def test_the_calls_in_the_readme_are_the_api_s() -> None:
    """The table of calls and the API's own description name the same paths."""
    described = json.loads((ROOT / "openapi" / "openapi.json").read_text())["paths"]
    paths = {path.split("/{")[0] for path in described}
    named = {word for row in _rows("Ask") for word in re.findall(r"(/[a-z0-9/.]+)", row[0])}

    assert named - {"/openapi.json", "/docs"} == paths


def test_the_request_fields_in_the_readme_exist() -> None:
    """Every field of a request that the README explains is one that the gateway reads."""
    text = README.split("| in a request | values |", 1)[1].split("\n\n", 1)[0]
    route = set(re.findall(r"`([a-z_]+)`", next(line for line in text.splitlines() if line.startswith("| `route`"))))

    names = "prompts output explain max_masks min_score fit route cache tags metadata quote_id"
    for name in names.split():
        assert name in SegmentationBody.model_fields
        assert f"`{name}" in text
    strategies = {strategy.value for strategy in Strategy}
    assert route - {"route"} == set(RouteBody.model_fields) | strategies


def test_the_configuration_in_the_readme_is_accepted() -> None:
    """Each YAML in the README passes the check with the key that it refers to in the environment."""
    assert 2 == len(_blocks("yaml"))
    for text in _blocks("yaml"):
        assert check_settings(settings_from_yaml(text, environ={"RUNFLOW_API_KEY": "rf_live_x"})) == []


def test_the_provider_table_is_the_registry_s() -> None:
    """The README's table of providers is the one that the registry makes; `make readme` writes it."""
    assert provider_table.table() == provider_table.written()


def test_the_files_that_the_readme_links_to_are_there() -> None:
    """Every relative link of the README leads to a file of the project."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]

    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
