"""What holds for `maskgate segment`."""

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from gateway.cli.failures import FAILED, INTERRUPTED, NO_GATEWAY, WRONG_COMMAND_LINE
from gateway.client.answers import read_answer
from providers.contract import Mask
from tests.gateway.house import Command, House


def mask_files(folder: Path, name: str) -> list[Mask]:
    """Return the masks that were written for a picture, in order."""
    files = sorted(folder.glob(f"{name}.mask-*.png"))
    return [Mask.from_bitmap(np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("1"))) for file in files]


@pytest.mark.parametrize("deployment", ["runflow-eu", "prodia"])
@pytest.mark.parametrize("encoding", ["rle", "png", "polygon"])
def test_known_object_comes_out_exactly(
    house: House, maskgate: Command, shoes: Path, tmp_path: Path, deployment: str, encoding: str
) -> None:
    """Whoever made it and however it travels, the mask written for a known object is its true one, pixel for pixel."""
    out = tmp_path / "out"
    asked = ("segment", shoes, "--text", "left shoe", "--deployment", deployment, "--masks", encoding, "--out", out)
    result = maskgate(*asked)
    assert (result.exit_code, result.stderr) == (0, "")
    assert mask_files(out, "shoes.png") == [house.truth("shoes", "left shoe")]
    document = json.loads((out / "shoes.png.json").read_text())
    assert document["instances"][0]["mask"]["encoding"] == encoding
    assert [attempt["deployment"] for attempt in document["attempts"]] in ([deployment], [])
    with Image.open(out / "shoes.png.overlay.png") as overlay:
        assert overlay.size == (document["image"]["width"], document["image"]["height"])


def test_one_bad_picture_does_not_stop_the_others(maskgate: Command, shoes: Path, tmp_path: Path) -> None:
    """A folder with a bad file is segmented but for that file, which is named, and the exit code says so."""
    (shoes.parent / "broken.png").write_text("this is no picture")
    result = maskgate("segment", shoes.parent, "--text", "shoe", "--out", tmp_path / "out")
    assert result.exit_code == FAILED
    assert "broken.png: invalid_image" in result.stderr
    assert "shoes.png" in result.stdout
    assert (tmp_path / "out" / "shoes.png.json").exists()
    assert not (tmp_path / "out" / "broken.png.json").exists()


def test_resume_asks_only_what_is_new(house: House, maskgate: Command, shoes: Path, tmp_path: Path) -> None:
    """A second run asks nothing about what it has; a new prompt, a new picture and a cut answer are asked."""

    def kept(*prompt: str) -> bool:
        asked = (
            "segment",
            shoes,
            "--deployment",
            "runflow-us",
            "--out",
            tmp_path / "out",
            "--resume",
            "--json",
            *prompt,
        )
        result = maskgate(*asked)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["kept"]

    assert kept("--text", "right shoe") is False
    billed = house.billed()
    assert kept("--text", "right shoe") is True
    assert house.billed() == billed
    assert kept("--text", "left shoe") is False
    shoes.write_bytes(house.picture("desk"))
    assert kept("--text", "left shoe") is False
    answer = tmp_path / "out" / "shoes.png.json"
    answer.write_bytes(answer.read_bytes()[:100])
    assert kept("--text", "left shoe") is False
    assert kept("--text", "left shoe") is True


def test_fewer_masks_leave_no_old_ones(maskgate: Command, shoes: Path, tmp_path: Path) -> None:
    """A run that finds less takes away the mask files of the run before."""
    for prompt, masks in (("shoe", 2), ("left shoe", 1)):
        assert maskgate("segment", shoes, "--text", prompt, "--out", tmp_path / "out").exit_code == 0
        assert len(mask_files(tmp_path / "out", "shoes.png")) == masks


def test_coco_file_is_read_by_pycocotools(
    house: House, maskgate: Command, shoes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All instances stand in one COCO file, masks, boxes and areas as pycocotools itself computes them."""
    (shoes.parent / "desk.png").write_bytes(house.picture("desk"))
    file = tmp_path / "coco.json"
    arguments = ("segment", shoes.parent, "--text", "shoe", "--text", "mug", "--coco", file)
    assert maskgate(*arguments).exit_code == 0
    read = COCO(str(file))
    capsys.readouterr()
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == ["desk.png", "shoes.png"]
    assert {category["name"] for category in read.loadCats(read.getCatIds())} == {"shoe", "mug"}
    annotations = read.loadAnns(read.getAnnIds())
    assert len(annotations) >= 3
    for annotation in annotations:
        rle = annotation["segmentation"] | {"counts": annotation["segmentation"]["counts"].encode()}
        assert annotation["area"] == coco_mask.area(rle)
        assert annotation["bbox"] == coco_mask.toBbox(rle).tolist()


def test_object_in_a_box_is_found_on_this_machine(maskgate: Command, shoes: Path, house: House) -> None:
    """A box with a point is one object prompt, and the local engine answers it when it is asked for."""
    box = house.scenes()["shoes"]["objects"][0]["box"]
    corners = f"{box['x_min']},{box['y_min']},{box['x_max']},{box['y_max']}"
    result = maskgate("segment", shoes, "--box", corners, "--deployment", "local-classic", "--json")
    assert result.exit_code == 0, result.stderr
    answer = read_answer(json.loads(result.stdout)["answer"])
    assert answer.deployments == ("local-classic",)
    assert len(answer.instances) == 1


def test_picture_that_lies_on_its_side_is_painted_upright(maskgate: Command, tmp_path: Path, house: House) -> None:
    """The overlay of a JPEG that EXIF turns has the upright size, as its masks have."""
    turned = Image.Exif()
    turned[0x0112] = 6
    file = tmp_path / "turned.jpg"
    Image.open(io.BytesIO(house.picture("shapes"))).convert("RGB").save(file, exif=turned)
    result = maskgate("segment", file, "--auto", "--deployment", "local-classic", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    with Image.open(file) as lying, Image.open(tmp_path / "out" / "turned.jpg.overlay.png") as overlay:
        assert overlay.size == (lying.height, lying.width)


def test_refused_key_ends_the_run(maskgate: Command, shoes: Path) -> None:
    """A key that is not known would be refused for every picture: the rest of them is not asked."""
    for number in range(20):
        (shoes.parent / f"copy-{number:02}.png").write_bytes(shoes.read_bytes())
    result = maskgate("segment", shoes.parent, "--text", "shoe", "--key", "mg_wrong", "--jobs", 2)
    assert result.exit_code == FAILED
    assert result.stderr.count("unauthenticated") == 21
    assert result.stderr.count("not asked: unauthenticated") >= 19


def test_absent_gateway_is_named(maskgate: Command, shoes: Path, unused_port: int) -> None:
    """A gateway that does not listen is named with its address."""
    result = maskgate("segment", shoes, "--text", "shoe", "--url", f"http://127.0.0.1:{unused_port}")
    assert result.exit_code == FAILED
    assert f"http://127.0.0.1:{unused_port} cannot be reached" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--text", "a", "--resume"), "--resume needs --out"),
        ((), "--text, or --box and --point, or --auto"),
        (("--box", "1,2,3"), "X0,Y0,X1,Y1"),
    ],
)
def test_wrong_command_line_is_explained(maskgate: Command, shoes: Path, arguments: tuple[str, ...], said: str) -> None:
    """What cannot be meant is refused before any gateway is asked."""
    result = maskgate("segment", shoes, *arguments)
    assert (result.exit_code, result.stdout) == (WRONG_COMMAND_LINE, "")
    assert said in result.stderr


def test_address_without_a_scheme_is_refused(maskgate: Command, shoes: Path) -> None:
    """A gateway's address is a URL."""
    result = maskgate("segment", shoes, "--text", "shoe", "--url", "localhost:8080")
    assert result.exit_code == NO_GATEWAY
    assert "http://HOST:PORT" in result.stderr


def test_terminal_sees_a_progress_bar(house: House, shoes: Path, environ: dict[str, str]) -> None:
    """Where stderr is a terminal it shows how far the run is; stdout has the facts alone."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway.cli.main", "segment", str(shoes), "--text", "shoe", "--json"]
    with subprocess.Popen(
        command,
        env=environ | {"MASKGATE_URL": house.url, "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # Linux says EIO when the last writer has closed
            pass
        out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert b"Segmenting" in shown
    assert json.loads(out)["answer"]["status"] == "succeeded"


def test_results_that_cannot_be_written_are_that_pictures_failure(
    maskgate: Command, shoes: Path, tmp_path: Path
) -> None:
    """A folder in the place of one picture's answer fails that picture alone."""
    (shoes.parent / "other.png").write_bytes(shoes.read_bytes())
    (tmp_path / "out" / "shoes.png.json" / "full").mkdir(parents=True)
    result = maskgate("segment", shoes.parent, "--text", "shoe", "--out", tmp_path / "out")
    assert result.exit_code == FAILED
    assert "shoes.png: [Errno" in result.stderr
    assert (tmp_path / "out" / "other.png.json").is_file()


def test_interrupted_run_ends_in_one_sentence(shoes: Path, environ: dict[str, str]) -> None:
    """Ctrl-C while a gateway keeps a run waiting is exit code 130, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "gateway.cli.main", "segment", str(shoes), "--text", "shoe", "--url", url]
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1) == b"P"
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert said == "maskgate: interrupted\n"
