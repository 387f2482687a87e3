"""The examples of Prodia's guide, run by Prodia's own client at the sandbox."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from providers.contract import Mask
from providers.sandbox.scenes import Scene
from tests.providers.contract_suite.sandboxes import RunningSandbox
from tests.real_clients.clients import run_with_prodia
from tests.real_clients.conftest import here
from tests.real_clients.documents import PRODIA_SAM2, PRODIA_SAM3

pytestmark = pytest.mark.slow

MICROUSD = 1100
PICTURE_MICROUSD = 1000

#: Added to an example: what the client makes of an answer that it does not like.
CAUGHT = 'process.on("uncaughtException", (error) => console.log(`${error.constructor.name}: ${error.message}`));\n'


def ran(example: str, folder: Path, picture: bytes, *, packages: Path, sandbox: RunningSandbox) -> list[str]:
    """Run an example on a picture and return the lines that it printed."""
    (folder / "input.jpg").write_bytes(picture)
    upstream = sandbox.upstreams["prodia"]
    return here(lambda: run_with_prodia(example, folder, packages=packages, upstream=upstream)).splitlines()


def written(folder: Path) -> list[Mask]:
    """Return the masks that an example wrote, which have to be 8-bit grey PNG files of 0 and 255."""
    masks = []
    for number in range(len(list(folder.glob("mask_*.png")))):
        data = (folder / f"mask_{number}.png").read_bytes()
        assert data.startswith(b"\x89PNG")
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert grey is not None
        assert (2, {0, 255}) == (grey.ndim, set(np.unique(grey).tolist()))
        masks.append(Mask.from_bitmap(grey))
    return masks


def test_the_guide_from_its_first_line(
    packages: Path, sandbox: RunningSandbox, scenes: dict[str, Scene], tmp_path: Path
) -> None:
    """SAM 2's example makes its picture and finds all in it; SAM 3's the robot cat; all exactly, and all billed."""
    scene = scenes["robot-cat"]
    upstream = sandbox.upstreams["prodia"]
    printed = here(lambda: run_with_prodia(PRODIA_SAM2, tmp_path, packages=packages, upstream=upstream)).splitlines()
    truth = [thing.mask for thing in scene.objects]
    assert ["Generating image...", "Saved input.jpg", "Segmenting image..."] == printed[:-1]
    assert f"Saved {len(truth)} mask files" == printed[-1]
    assert truth == written(tmp_path)
    picture = (tmp_path / "input.jpg").read_bytes()
    assert picture == scene.jpeg
    for file in tmp_path.glob("mask_*.png"):
        file.unlink()
    printed = ran(PRODIA_SAM3, tmp_path, picture, packages=packages, sandbox=sandbox)
    assert ["Segmenting with prompt...", "Saved 1 mask files"] == printed
    assert [scene.objects[index].mask for index in scene.named("robot cat")] == written(tmp_path)
    assert [PICTURE_MICROUSD, MICROUSD, MICROUSD] == [call["microusd"] for call in sandbox.books("prodia")]


@pytest.mark.parametrize(("prompt", "count"), [("shoe", 2), ("left shoe", 1), ("robot cat", 0)])
def test_sam3_on_a_known_scene(
    packages: Path, sandbox: RunningSandbox, scenes: dict[str, Scene], prompt: str, count: int, tmp_path: Path
) -> None:
    """Asked for what is in the scene instead, the SAM 3 example writes those masks and no others."""
    scene = scenes["shoes"]
    example = PRODIA_SAM3.replace('prompt: "robot cat"', f'prompt: "{prompt}"')
    printed = ran(example, tmp_path, scene.png, packages=packages, sandbox=sandbox)
    assert f"Saved {count} mask files" == printed[-1]
    assert [scene.objects[index].mask for index in scene.named(prompt)] == written(tmp_path)


def test_sam3_refused(packages: Path, sandbox: RunningSandbox, scenes: dict[str, Scene], tmp_path: Path) -> None:
    """A setting beyond its bounds is an error that names it, as the client's own tests expect; nothing is billed."""
    example = CAUGHT + PRODIA_SAM3.replace("confidence_threshold: 0.5", "confidence_threshold: 2")
    printed = ran(example, tmp_path, scenes["shoes"].png, packages=packages, sandbox=sandbox)
    assert printed[-1].startswith("ProdiaUserError: config.confidence_threshold: maximum: got 2, want 1 (id: ")
    assert [] == written(tmp_path)
    assert [] == sandbox.books("prodia")


def test_busy_for_a_moment(packages: Path, sandbox: RunningSandbox, scenes: dict[str, Scene], tmp_path: Path) -> None:
    """Told to come back, the client comes back until it is told off for good: each wait is what Retry-After says."""
    sandbox.strike("prodia", {"kind": "throttle", "retry_after": 0.01})
    printed = ran(CAUGHT + PRODIA_SAM3, tmp_path, scenes["shoes"].png, packages=packages, sandbox=sandbox)
    assert printed[-1].startswith("ProdiaCapacityError")
    assert [] == sandbox.books("prodia")
