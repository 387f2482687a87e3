"""A shortage is counted each time, logged once an episode, and told until it is over."""

import io
import json
from collections import Counter

from gateway.telemetry.logs import make_logger
from gateway.telemetry.shortages import EPISODE_SECONDS, Shortages
from providers.contract import Resource


def test_an_episode_is_logged_once_and_ends_by_itself() -> None:
    """Of many that are met one after another, one is logged; some seconds after the last, nothing is told any more."""
    now, counted, target = [100.0], Counter[str](), io.StringIO()
    shortages = Shortages(lambda: now[0], count=lambda what: counted.update([what]), log=make_logger(target))
    for _ in range(20):
        shortages.met(Resource.DESCRIPTORS, "no connection to a provider")
        now[0] += EPISODE_SECONDS / 2
    assert {"descriptors": "no connection to a provider"} == shortages.now()
    now[0] += EPISODE_SECONDS
    assert {} == shortages.now()
    shortages.met(Resource.DESCRIPTORS, "again")
    lines = [json.loads(line) for line in target.getvalue().splitlines()]
    assert ["no connection to a provider", "again"] == [line["reason"] for line in lines]
    assert Counter({"descriptors": 21}) == counted


def test_a_pool_that_is_in_use_is_counted_and_no_trouble() -> None:
    """Being full is told by the metric alone."""
    counted = Counter[str]()
    shortages = Shortages(lambda: 1.0, count=lambda what: counted.update([what]), log=make_logger(io.StringIO()))
    shortages.met(Resource.CONNECTIONS, "all in use")
    assert (Counter({"connections": 1}), {}) == (counted, shortages.now())
