"""Which of a provider's instances the caller gets, and in which order (pure)."""

from __future__ import annotations

from providers.contract import Instance, Question, Segmentation


def select(segmentation: Segmentation, question: Question) -> Segmentation:
    """
    Filter by score, sort by score and then by area, and cut: the same for every provider.

    An instance without a score is never filtered out, and comes after those that have one.
    """
    wanted = [
        instance
        for instance in segmentation.instances
        if question.min_score is None or instance.score is None or instance.score >= question.min_score
    ]
    wanted.sort(key=_rank, reverse=True)
    return Segmentation(tuple(wanted[: question.max_masks]), segmentation.warnings)


def _rank(instance: Instance) -> tuple[float, int]:
    return (-1.0 if instance.score is None else instance.score), instance.mask.area
