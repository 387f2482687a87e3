"""
Question → name (pure).

The name holds everything that changes the masks, and the tenant: two tenants never share an answer. An answer is kept
under the deployment that gave it, and looked for under all that the caller may use: one that was bought in one region
serves all, and callers who may use different ones keep one each.
"""

from __future__ import annotations

import orjson
from blake3 import blake3

from providers.contract import ExemplarsPrompt, ObjectPrompt, Prompt, Question, TextPrompt

#: Raised whenever the same answer of a provider would become other masks than before.
NORMALIZATION_VERSION = 2


def question_digest(question: Question, tenant: str) -> str:
    """Return the question's name without the family: equal for equal questions of one tenant."""
    parts = [
        NORMALIZATION_VERSION,
        tenant,
        question.picture.digest,
        canonical(question.prompt),
        question.max_masks,
        None if question.min_score is None else question.min_score + 0.0,  # -0.0 asks what 0.0 asks
    ]
    return blake3(orjson.dumps(parts)).hexdigest()


def cache_key(digest: str, family: str, deployment: str) -> str:
    """Return the name under which the answer of a deployment, of a model of that family, to a question is kept."""
    return f"{digest}:{family}:{deployment}"


def canonical(prompt: Prompt) -> list[object]:
    """Return the prompt in one form, whatever order its points and boxes were given in."""
    match prompt:
        case TextPrompt(text):
            return ["text", text]
        case ObjectPrompt(points, box):
            corners = None if box is None else [box.x_min, box.y_min, box.x_max, box.y_max]
            return ["object", sorted([point.x, point.y, point.positive] for point in points), corners]
        case ExemplarsPrompt(boxes, text):
            each = [[b.box.x_min, b.box.y_min, b.box.x_max, b.box.y_max, b.positive] for b in boxes]
            return ["exemplars", text, sorted(each)]
        case _:
            return ["automatic"]
