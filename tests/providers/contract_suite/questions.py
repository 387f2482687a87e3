"""What is asked: questions about the sandbox's scenes, with the masks that are the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from providers.contract import (
    AutomaticPrompt,
    Capabilities,
    Mask,
    ObjectPrompt,
    Picture,
    Point,
    Prompt,
    PromptKind,
    Question,
    Segmentation,
    TextPrompt,
)
from providers.sandbox.scenes import Scene

MOST_MASKS = 32


@dataclass(frozen=True, slots=True)
class Known:
    """A question whose answer is known."""

    scene: Scene
    prompt: Prompt
    truth: tuple[Mask, ...]

    def question(self, *, url: str | None = None, max_masks: int = MOST_MASKS) -> Question:
        """Return it as a provider is asked it; *url* is the picture's address, where it came by one."""
        return Question(picture_of(self.scene, url=url), self.prompt, max_masks)

    def wrong(self, answer: Segmentation, *, least_iou: float) -> str:
        """Say what is wrong with *answer*; nothing where it is right."""
        masks = [instance.mask for instance in answer.instances]
        if any(mask.size != self.scene.size for mask in masks):
            return f"masks of {[mask.size for mask in masks]}, the picture is {self.scene.size}"
        if self.prompt.kind is not PromptKind.AUTOMATIC and len(masks) != len(self.truth):
            return f"{len(masks)} masks for {self.prompt}, there are {len(self.truth)}"
        best = [max((mask.iou(true) for mask in masks), default=0.0) for true in self.truth]
        return "" if min(best) >= least_iou else f"IoU {best} for {self.prompt}"


def picture_of(scene: Scene, *, url: str | None = None) -> Picture:
    """Return the picture of a scene."""
    height, width = scene.size
    return Picture(scene.png, "image/png", width, height, f"blake3:{scene.digest.hex()}", url)


def known_questions(scene: Scene, capabilities: Capabilities) -> list[Known]:
    """
    Return questions of every kind that *capabilities* declares, about every object of *scene*.

    Raises:
        NotImplementedError: a kind for which this suite has no question yet.
    """
    questions: list[Known] = []
    for kind in sorted(capabilities.prompt_kinds):
        match kind:
            case PromptKind.TEXT:
                questions += _by_text(scene, capabilities)
            case PromptKind.OBJECT:
                questions += _by_object(scene, capabilities)
            case PromptKind.AUTOMATIC:
                questions.append(Known(scene, AutomaticPrompt(), tuple(thing.mask for thing in scene.objects)))
            case PromptKind.EXEMPLARS:
                raise NotImplementedError(f"a model takes {kind}: write questions of that kind here")
    return questions


def one_question(scene: Scene, capabilities: Capabilities) -> Known:
    """Return the question with the fewest masks."""
    return min(known_questions(scene, capabilities), key=lambda known: len(known.truth))


def _by_text(scene: Scene, capabilities: Capabilities) -> list[Known]:
    """Return a question by each name and each last word of one, where no more are named than can come back."""
    names = {thing.name for thing in scene.objects} | {thing.name.split()[-1] for thing in scene.objects}
    names = {name for name in names if len(scene.named(name)) <= (capabilities.max_masks or MOST_MASKS)}
    return [
        Known(scene, TextPrompt(name), tuple(scene.objects[index].mask for index in scene.named(name)))
        for name in sorted(names)
    ]


def _by_object(scene: Scene, capabilities: Capabilities) -> list[Known]:
    """Return questions by the box of every object, by a point on it, and by both."""
    questions: list[Known] = []
    for thing in scene.objects:
        point, box = _deepest(thing.mask), thing.mask.box
        prompts: Sequence[tuple[bool, ObjectPrompt]] = (
            (capabilities.boxes, ObjectPrompt(box=box)),
            (capabilities.points, ObjectPrompt(points=(point,))),
            (capabilities.boxes and capabilities.points, ObjectPrompt(points=(point,), box=box)),
        )
        questions += [Known(scene, prompt, (thing.mask,)) for can, prompt in prompts if can]
    return questions


def _deepest(mask: Mask) -> Point:
    """Return the pixel of the object that is farthest from its edge."""
    depth = cv2.distanceTransform(mask.bitmap, cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Point(int(x), int(y))
