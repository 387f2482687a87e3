"""The steps of the demonstration, in order, and their table."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.app import create_app, sandbox_config
from gateway.client import Answer, Attempt, Client, Options
from gateway.demo.sandbox_control import SandboxControl, Scene
from gateway.render.overlay import overlay
from gateway.sandboxed import sandbox_running
from gateway.serving import running
from gateway.settings import settings_from_yaml
from providers.contract import Box, Mask, ObjectPrompt, Prompt, TextPrompt

PHOTOGRAPH = "coffee.jpg"
#: The scene by whose name the sandbox knows the photograph, and what to ask for in it.
PHOTOGRAPHED = "coffee"
THINGS = ("cup", "coffee", "table", "spoon", "saucer")
#: Around cup and saucer, in pixels of the photograph.
CUP_AND_SAUCER = Box(74, 14, 484, 390)

SCENE = "shoes"
NAMED = "left shoe"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table."""

    title: str
    picture: bytes | str
    """Bytes of the photograph, or the URL of the scene."""
    prompts: tuple[Prompt, ...]
    options: Options
    truths: tuple[Mask, ...] = ()
    """The one mask that has to come back for each prompt, where they are known."""
    overlay: str | None = None
    """File name of its overlay, without the ending."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step and what came of it."""

    step: Step
    answer: Answer
    milliseconds: float
    iou: float | None
    """Of the worst prompt; None where the true masks are not known."""


def run_demo(out: Path) -> int:
    """
    Run every step over real sockets, print the table, write the overlays, and compare the ledger with the books.

    Returns:
        The exit status: 0 when every mask came, each known one is exact, and ledger and books agree.
    """
    console = Console(width=max(144, Console().width))
    out.mkdir(parents=True, exist_ok=True)
    with sandbox_running() as sandbox, tempfile.TemporaryDirectory(prefix="maskgate-demo-") as state:
        environ = {"MASKGATE_STATE_DIR": state}
        settings = settings_from_yaml(sandbox_config(sandbox.host, sandbox.port), environ=environ)
        shown: list[str] = []
        with (
            (Path(state) / "gateway.log").open("w", encoding="utf-8") as log,
            running(lambda: create_app(settings, log_to=log, show=shown.append)) as url,
        ):
            return asyncio.run(_demonstrate(url, shown[0], sandbox.control_url, out, console))


async def _demonstrate(url: str, key: str, control_url: str, out: Path, console: Console) -> int:
    photograph = (files("gateway.demo") / PHOTOGRAPH).read_bytes()
    async with Client(url, key) as gateway, SandboxControl(control_url) as control:
        console.print(
            f"[bold]Maskgate[/] on {url}, sandbox upstreams on {control_url} (no provider's key, no real money)\n"
        )
        done = await _steps(gateway, control, photograph)
        console.print(_table(done))
        console.print(
            "IoU is with the masks that the sandbox holds for true: the photograph's were drawn by hand. For pictures "
            "that it does not know it invents masks, and the answer says so."
        )
        written = _write_overlays(done, photograph, out)
        console.print(f"Overlays: {', '.join(str(path) for path in written)}")
        ledger = (await gateway.usage()).total
        billed = await control.billed_microusd()
    same = ledger.cost.microusd == billed
    console.print(
        f"Ledger: {ledger.attempts} attempts, {ledger.settled} settled, {ledger.released} released, "
        f"{ledger.held} held, {ledger.cost.microusd} µ$ owed. Books of the upstreams: {billed} µ$. "
        + ("[green]Equal to the micro-dollar.[/]" if same else "[red]They differ.[/]")
    )
    exact = all(each.iou is None or each.iou == 1.0 for each in done)
    found = all(each.answer.instances for each in done)
    failed_over = {attempt.outcome for attempt in done[1].answer.attempts} == {"unreachable", "succeeded"}
    kept = done[-1].answer.caches == ("hit",)
    return 0 if same and exact and found and failed_over and kept else 1


async def _steps(gateway: Client, control: SandboxControl, photograph: bytes) -> list[Done]:
    """Run the steps; the region goes down before the second and comes back after it."""
    scene, photographed = await control.scene(SCENE), await control.scene(PHOTOGRAPHED)
    first, outage, *others = _script(photograph, photographed, scene)
    done = [await _run(gateway, first)]
    await control.take_down("runflow-eu")
    done.append(await _run(gateway, outage))
    await control.heal("runflow-eu")
    return done + [await _run(gateway, step) for step in others]


def _script(photograph: bytes, photographed: Scene, scene: Scene) -> list[Step]:
    things = tuple(TextPrompt(thing) for thing in THINGS)
    there = tuple(photographed.objects[thing] for thing in THINGS)
    cup, shoe = things[:1], (TextPrompt(NAMED),)
    runflow = Options(providers=["runflow"], max_masks=5, strategy="priority")
    anew = replace(runflow, cache="refresh")
    prodia = Options(providers=["prodia"], max_masks=5)
    local = Options(providers=["local"])
    truth = (scene.objects[NAMED],)
    box = (ObjectPrompt(box=CUP_AND_SAUCER),)
    return [
        Step(f"photo, {len(things)} texts, Runflow", photograph, things, runflow, there, overlay="coffee-runflow"),
        Step("photo, “cup”, region eu down", photograph, cup, anew, there[:1], overlay="coffee-failover"),
        Step("photo, “cup”, Prodia", photograph, cup, prodia, there[:1], overlay="coffee-prodia"),
        Step("photo, box, local", photograph, box, local, overlay="coffee-local"),
        Step(f"scene, “{NAMED}”, Runflow", scene.image_url, shoe, runflow, truth),
        Step(f"scene, “{NAMED}”, Prodia", scene.image_url, shoe, prodia, truth),
        Step(f"scene, “{NAMED}”, again", scene.image_url, shoe, prodia, truth),
    ]


async def _run(gateway: Client, step: Step) -> Done:
    started = time.perf_counter()
    answer = await gateway.segment(step.picture, step.prompts, options=step.options)
    milliseconds = (time.perf_counter() - started) * 1000
    ious = [_iou(answer, index, truth) for index, truth in enumerate(step.truths)]
    return Done(step, answer, milliseconds, min(ious, default=None))


def _iou(answer: Answer, prompt_index: int, truth: Mask) -> float:
    """Return how well the one mask for a prompt agrees with the truth; 0 where there is not exactly one."""
    masks = [found.mask for found in answer.instances if found.prompt_index == prompt_index]
    return masks[0].mask().iou(truth) if len(masks) == 1 and masks[0] is not None else 0.0


def _table(done: Sequence[Done]) -> Table:
    table = Table(title="One picture in, masks out", title_justify="left")
    for heading in ("what", "deployment", "cache"):
        table.add_column(heading, no_wrap=True)
    for heading in ("instances", "best score", "IoU"):
        table.add_column(heading, justify="right")
    table.add_column("attempts", no_wrap=True)
    for heading in ("charge µ$", "ms"):
        table.add_column(heading, justify="right")
    for each in done:
        answer = each.answer
        table.add_row(
            each.step.title,
            ", ".join(dict.fromkeys(answer.deployments)),
            ", ".join(dict.fromkeys(answer.caches)),
            str(len(answer.instances)),
            "none" if answer.best_score is None else f"{answer.best_score:.2f}",
            "" if each.iou is None else f"{each.iou:.3f}",
            _attempts(answer.attempts),
            str(answer.cost.charged.microusd),
            f"{each.milliseconds:.0f}",
        )
    return table


def _attempts(attempts: Sequence[Attempt]) -> str:
    """Write the attempts for each prompt in order, and how many prompts had the same."""
    chains: dict[int, list[str]] = {}
    for attempt in attempts:
        chains.setdefault(attempt.prompt_index, []).append(_attempt(attempt))
    counted = Counter(" → ".join(chain) for chain in chains.values())
    return ", ".join(chain if count == 1 else f"{count} times {chain}" for chain, count in counted.items()) or "none"


def _attempt(attempt: Attempt) -> str:
    return attempt.deployment if attempt.outcome == "succeeded" else f"{attempt.deployment} {attempt.outcome}"


def _write_overlays(done: Sequence[Done], photograph: bytes, out: Path) -> list[Path]:
    written: list[Path] = []
    for each in done:
        if each.step.overlay is not None:
            masks = [found.mask.mask() for found in each.answer.instances if found.mask is not None]
            path = out / f"{each.step.overlay}.png"
            path.write_bytes(overlay(photograph, masks))
            written.append(path)
    return written
