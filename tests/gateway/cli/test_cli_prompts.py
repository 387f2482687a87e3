"""What holds for prompts on the command line."""

import pytest

from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed
from gateway.cli.prompts import read_box, read_point, read_prompts
from providers.contract import AutomaticPrompt, Box, ObjectPrompt, Point, TextPrompt


def test_each_text_is_a_prompt_of_its_own() -> None:
    """Two texts are two prompts."""
    assert read_prompts(["cup", "left shoe"], None, [], automatic=False) == [TextPrompt("cup"), TextPrompt("left shoe")]


def test_box_and_points_are_one_object() -> None:
    """A box and points together say where one object is."""
    prompts = read_prompts([], "1,2,30,40", ["3,4", "5, 6,0", "7,8,1"], automatic=False)
    points = (Point(3, 4), Point(5, 6, positive=False), Point(7, 8))
    assert prompts == [ObjectPrompt(points=points, box=Box(1, 2, 30, 40))]


def test_automatic_is_everything() -> None:
    """--auto asks for everything."""
    assert read_prompts([], None, [], automatic=True) == [AutomaticPrompt()]


@pytest.mark.parametrize(
    ("texts", "box", "points", "automatic"),
    [([], None, [], False), (["cup"], "1,2,3,4", [], False), (["cup"], None, [], True), ([], None, ["1,2"], True)],
)
def test_exactly_one_way_of_asking(texts: list[str], box: str | None, points: list[str], *, automatic: bool) -> None:
    """None and several are refused with the ways there are."""
    with pytest.raises(CommandFailed, match="--text, or --box and --point, or --auto") as caught:
        read_prompts(texts, box, points, automatic=automatic)
    assert caught.value.exit_code == WRONG_COMMAND_LINE


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,2,3,4", "-1,2,3,4", "1,2,3,"])
def test_box_that_cannot_be_read_is_refused_with_its_form(text: str) -> None:
    """Four whole numbers, or a sentence that says so."""
    with pytest.raises(CommandFailed, match="X0,Y0,X1,Y1"):
        read_box(text)


@pytest.mark.parametrize("text", ["5,5,5,9", "9,0,3,4", "0,4,4,4"])
def test_empty_box_is_refused(text: str) -> None:
    """A box without pixels is refused."""
    with pytest.raises(CommandFailed, match="is empty"):
        read_box(text)


@pytest.mark.parametrize("text", ["", "1", "1,2,3,4", "x,y", "1,2,2"])
def test_point_that_cannot_be_read_is_refused(text: str) -> None:
    """Two whole numbers and perhaps 0 or 1, or a sentence that says so."""
    with pytest.raises(CommandFailed, match="--point"):
        read_point(text)
