"""Every Prometheus series, with its labels."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import MULTIPROCESS_VARIABLE, Metrics
from providers.contract import Outcome

ROOT = Path(__file__).parents[3]

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

LABELS: dict[str, tuple[str, ...]] = {
    "maskgate_bytes_in_flight": ("count",),
    "maskgate_own_resource_shortages_total": ("resource",),
    "maskgate_log_lines_dropped_total": (),
    "maskgate_requests_total": ("outcome",),
    "maskgate_request_seconds_count": (),
    "maskgate_request_seconds_sum": (),
    "maskgate_request_seconds_bucket": ("le",),
    "maskgate_attempts_total": ("deployment", "outcome"),
    "maskgate_attempt_seconds_count": ("deployment",),
    "maskgate_attempt_seconds_sum": ("deployment",),
    "maskgate_attempt_seconds_bucket": ("deployment", "le"),
    "maskgate_cache_total": ("result",),
    "maskgate_shared_cache_total": ("result",),
    "maskgate_spend_micros_total": ("provider",),
    "maskgate_held_micros_total": ("provider",),
    "maskgate_price_drift_micros_total": ("deployment",),
    "maskgate_upstream_denied_total": ("deployment",),
    "maskgate_saved_micros_total": (),
    "maskgate_deployment_open": ("deployment",),
    "maskgate_requests_in_flight": (),
    "maskgate_cache_bytes": (),
    "maskgate_gate": ("count",),
    "maskgate_deployment_places": ("deployment", "count"),
    "maskgate_deployment_openings_total": ("deployment", "cause"),
    "maskgate_config_reloads_total": ("result",),
    "maskgate_config_last_success_timestamp_seconds": (),
    "maskgate_ledger": ("count",),
}


def text_of(metrics: Metrics, *open_deployments: str) -> str:
    """Return what a scrape reads."""
    ledger = {"operations": 7, "transactions": 2, "parked": 0}
    return metrics.text(
        open_deployments=open_deployments,
        in_flight=3,
        cache_bytes=4096,
        ledger=ledger,
        gate=(128, 7),
        held_bytes=(100, 60, 5),
        places={"prodia": (20, 2)},
    ).decode()


def series_of(text: str) -> Series:
    """Return every sample by name and labels, without the moments of creation."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def busy() -> Metrics:
    """Return metrics in which everything has happened once."""
    metrics = Metrics()
    metrics.request("ok", 0.3)
    metrics.request("invalid_request", 0.001)
    metrics.attempt("runflow-eu", "runflow", Outcome.SUCCEEDED, seconds=0.2, charged=5000, held=0)
    metrics.attempt("prodia", "prodia", Outcome.UNANSWERED, seconds=30.0, charged=0, held=4000)
    metrics.attempt("prodia", "prodia", Outcome.DENIED, seconds=0.1, charged=0, held=0)
    metrics.cache("hit", 5000)
    metrics.cache("miss")
    metrics.shared_cache("written")
    metrics.drifted("prodia", -250)
    metrics.drifted("prodia", 100)
    metrics.drifted("runflow-eu", 0)
    metrics.opened("prodia", "denied")
    metrics.shortage("descriptors")
    metrics.log_line_dropped()
    metrics.reloaded("applied")
    metrics.reloaded("refused")
    metrics.reloaded("refused")
    metrics.configured(1_800_000_000.5)
    return metrics


def test_every_series_is_there_with_its_labels_and_none_beside() -> None:
    """The text parses, and its names and labels are exactly those that dashboards and alerts are written for."""
    labels: dict[str, set[tuple[str, ...]]] = {}
    for name, pairs in series_of(text_of(busy(), "prodia")):
        labels.setdefault(name, set()).add(tuple(label for label, _ in pairs))
    assert {name: {tuple(sorted(names))} for name, names in LABELS.items()} == labels


def test_what_happened_is_counted_once() -> None:
    """Each figure is what was told."""
    series = series_of(text_of(busy(), "prodia"))
    expected: Series = {
        ("maskgate_requests_total", (("outcome", "ok"),)): 1,
        ("maskgate_requests_total", (("outcome", "invalid_request"),)): 1,
        ("maskgate_request_seconds_count", ()): 2,
        ("maskgate_attempts_total", (("deployment", "runflow-eu"), ("outcome", "succeeded"))): 1,
        ("maskgate_attempts_total", (("deployment", "prodia"), ("outcome", "unanswered"))): 1,
        ("maskgate_attempts_total", (("deployment", "prodia"), ("outcome", "denied"))): 1,
        ("maskgate_attempt_seconds_count", (("deployment", "prodia"),)): 2,
        ("maskgate_cache_total", (("result", "hit"),)): 1,
        ("maskgate_cache_total", (("result", "miss"),)): 1,
        ("maskgate_shared_cache_total", (("result", "written"),)): 1,
        ("maskgate_spend_micros_total", (("provider", "runflow"),)): 5000,
        ("maskgate_held_micros_total", (("provider", "prodia"),)): 4000,
        ("maskgate_price_drift_micros_total", (("deployment", "prodia"),)): 350,
        ("maskgate_gate", (("count", "limit"),)): 128,
        ("maskgate_gate", (("count", "waiting"),)): 7,
        ("maskgate_deployment_places", (("count", "limit"), ("deployment", "prodia"))): 20,
        ("maskgate_deployment_places", (("count", "waiting"), ("deployment", "prodia"))): 2,
        ("maskgate_deployment_openings_total", (("cause", "denied"), ("deployment", "prodia"))): 1,
        ("maskgate_config_reloads_total", (("result", "applied"),)): 1,
        ("maskgate_own_resource_shortages_total", (("resource", "descriptors"),)): 1,
        ("maskgate_log_lines_dropped_total", ()): 1,
        ("maskgate_bytes_in_flight", (("count", "limit"),)): 100,
        ("maskgate_bytes_in_flight", (("count", "taken"),)): 60,
        ("maskgate_bytes_in_flight", (("count", "waiting"),)): 5,
        ("maskgate_config_reloads_total", (("result", "refused"),)): 2,
        ("maskgate_config_last_success_timestamp_seconds", ()): 1_800_000_000.5,
        ("maskgate_upstream_denied_total", (("deployment", "prodia"),)): 1,
        ("maskgate_saved_micros_total", ()): 5000,
        ("maskgate_deployment_open", (("deployment", "prodia"),)): 1,
        ("maskgate_requests_in_flight", ()): 3,
        ("maskgate_cache_bytes", ()): 4096,
        ("maskgate_ledger", (("count", "operations"),)): 7,
        ("maskgate_ledger", (("count", "transactions"),)): 2,
        ("maskgate_ledger", (("count", "parked"),)): 0,
    }
    assert expected == {key: series[key] for key in expected}
    counted = {key for key in series if not key[0].endswith(("_bucket", "_sum", "_count"))}
    assert counted == {key for key in expected if not key[0].endswith("_count")}
    assert pytest.approx(0.301) == series["maskgate_request_seconds_sum", ()]


def test_a_deployment_that_closes_again_is_shown_closed() -> None:
    """One that was never open has no series; one that was goes to 0."""
    metrics = Metrics()
    assert not [name for name, _ in series_of(text_of(metrics)) if name == "maskgate_deployment_open"]
    shown = [
        {pairs[0][1]: value for (name, pairs), value in series_of(text).items() if name == "maskgate_deployment_open"}
        for text in (text_of(metrics, "a", "b"), text_of(metrics, "b"), text_of(metrics))
    ]
    assert [{"a": 1, "b": 1}, {"a": 0, "b": 1}, {"a": 0, "b": 0}] == shown


def test_two_gateways_in_one_process_count_for_themselves() -> None:
    """There is no registry that they would share."""
    one, two = Metrics(), Metrics()
    one.request("ok", 0.1)
    assert ("maskgate_requests_total", (("outcome", "ok"),)) in series_of(text_of(one))
    assert ("maskgate_requests_total", (("outcome", "ok"),)) not in series_of(text_of(two))


PROCESS = """
import sys
import threading
from gateway.telemetry.metrics import Metrics
metrics = Metrics()
for deployments in ([], ["a"], []):
    metrics.request("ok", 0.1)
    text = metrics.text(open_deployments=deployments, in_flight=1, cache_bytes=1, ledger={})
sys.stdout.write(text.decode())
sys.stdout.flush()
import os
os._exit(0)  # as a worker that is killed: its files stay open
"""


def test_several_processes_count_together(tmp_path: Path) -> None:
    """Counters of every process add up in whichever is scraped, and an open deployment closes again there, too."""
    environ = os.environ | {MULTIPROCESS_VARIABLE: str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", PROCESS]
    run = partial(subprocess.run, command, cwd=ROOT, env=environ, capture_output=True, check=True, text=True)
    first, second = run(), run()
    assert ("", "") == (first.stderr, second.stderr)
    series = series_of(second.stdout)
    assert 6 == series["maskgate_requests_total", (("outcome", "ok"),)]
    assert 0 == series["maskgate_deployment_open", (("deployment", "a"),)]


def test_a_process_that_has_just_started_keeps_no_scrape_from_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's file that is still empty is read again until it has been filled."""
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    late = tmp_path / "counter_4711.db"
    late.touch()

    def fill() -> None:
        late.write_bytes((8).to_bytes(4, sys.byteorder) + bytes(60))

    filling = threading.Timer(0.005, fill)
    filling.start()
    try:
        assert "" == text_of(Metrics())
    finally:
        filling.join()
