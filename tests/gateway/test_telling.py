"""What the operator is told of deployments, in the log and in the metrics."""

import io
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.accounting import HeldAttempt, Resolution, Result
from gateway.accounting.drift import Drift
from gateway.accounting.resolution import UNRESOLVED
from gateway.routing.health import Cause, Change
from gateway.routing.probing import FreeProbeResult
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telling import Telling
from providers.contract import Money

HELD = HeldAttempt(1, "att_1", "eu", "runflow", "sam-3", 5000, 1, "run_1", "acme", "eu@2026-01-01")


class Told:
    """Metrics and a log that are told."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self.metrics, self.log = Metrics(), io.StringIO()
        self.telling = Telling(self.metrics, make_logger(self.log))

    def line(self) -> dict[str, Any]:
        """Return the only line of the log, without its date."""
        (line,) = map(orjson.loads, self.log.getvalue().splitlines())
        del line["timestamp"]
        return line

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Return a series' values by their labels' values, in the order of the labels' names."""
        text = self.metrics.text(open_deployments=(), in_flight=0, cache_bytes=0, ledger={}).decode()
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return {
            tuple(label for _, label in sorted(each.labels.items())): each.value
            for each in samples
            if each.name == name
        }


@pytest.mark.parametrize(
    ("cause", "level"), [(Cause.OVERLOADED, "info"), (Cause.FAILING, "warning"), (Cause.DENIED, "warning")]
)
def test_opened_breaker_is_logged_and_counted(cause: Cause, level: str) -> None:
    """One that is only overloaded is no reason to worry; every other cause is a warning."""
    told = Told()
    told.telling.breaker(Change("eu", cause, "its words", 2.00049))
    expected = {"event": "deployment_opened", "deployment": "eu", "cause": cause.value, "seconds": 2.0, "level": level}
    assert expected == told.line()
    assert {(cause.value, "eu"): 1.0} == told.series("maskgate_deployment_openings_total")


def test_closed_breaker_is_logged_and_counted_nowhere() -> None:
    """Openings are what is counted."""
    told = Told()
    told.telling.breaker(Change("eu", None, None, 0.0))
    assert {"event": "deployment_closed", "deployment": "eu", "level": "info"} == told.line()
    assert {} == told.series("maskgate_deployment_openings_total")


@pytest.mark.parametrize(("result", "reason"), [(FreeProbeResult.PASSED, None), (FreeProbeResult.FAILED, "500")])
def test_free_probe_is_logged_and_counted(result: FreeProbeResult, reason: str | None) -> None:
    """By what came of it; a failure of one is no news beside the breaker's, which is told by itself."""
    told = Told()
    told.telling.free_probe("eu", result, reason)
    expected = {"event": "free_probe", "deployment": "eu", "result": result.value, "reason": reason, "level": "info"}
    assert expected == told.line()
    assert {("eu", result.value): 1.0} == told.series("maskgate_free_probes_total")


@pytest.mark.parametrize(("alarmed", "level"), [(True, "warning"), (False, "info")])
def test_drift_is_logged_with_both_sums(*, alarmed: bool, level: str) -> None:
    """The line says by how much, and the series is 1 while the alarm is on."""
    told = Told()
    told.telling.drift(Drift("eu", 8, Money(6000), Money(5000), alarmed=alarmed))
    assert {
        "event": "price_drift",
        "deployment": "eu",
        "alarmed": alarmed,
        "percent": 20.0,
        "calls": 8,
        "reported_microusd": 6000,
        "listed_microusd": 5000,
        "level": level,
    } == told.line()
    assert {("eu",): float(alarmed)} == told.series("maskgate_price_drift_alarm")


def test_alarms_can_be_taken_back_without_a_word() -> None:
    """The series of deployments that are watched anew begin at nothing."""
    told = Told()
    told.telling.no_drift(["eu", "us"])
    assert {("eu",): 0.0, ("us",): 0.0} == told.series("maskgate_price_drift_alarm")
    assert "" == told.log.getvalue()


def test_what_is_beyond_a_reservation_is_counted_each_time_and_logged_once() -> None:
    """A deployment that declares too little would fill the log with every call."""
    told = Told()
    told.telling.uncharged("eu", Money(300))
    told.telling.uncharged("eu", Money(50))
    line = told.line()
    assert ("charge_capped", "eu", 300, "warning") == (
        line["event"],
        line["deployment"],
        line["uncharged_microusd"],
        line["level"],
    )
    assert {("eu",): 350.0} == told.series("maskgate_uncharged_micros_total")


def test_what_was_charged_after_all_counts_as_spent() -> None:
    """A question about a hold is counted by its result, and the charge under its provider."""
    told = Told()
    billed = Resolution(Money(4500), Money(6000), Money(6000), release=False, uncharged=Money(1500))
    told.telling.reconciled(HELD, Result.SETTLED, billed)
    told.telling.reconciled(HELD, Result.UNKNOWN, UNRESOLVED)
    assert {("eu", "settled"): 1.0, ("eu", "unknown"): 1.0} == told.series("maskgate_reconciliations_total")
    assert {("runflow",): 4500.0} == told.series("maskgate_spend_micros_total")
    assert {("eu",): 1500.0} == told.series("maskgate_uncharged_micros_total")
