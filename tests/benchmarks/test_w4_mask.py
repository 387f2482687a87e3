"""Both sides of W4 do the same work."""

from tests.benchmarks.w4_mask import ours, picture, plainly


def test_both_find_the_same() -> None:
    """Box, area and RLE of the mask are equal, character by character."""
    png = picture()

    assert plainly(png) == ours(png)
