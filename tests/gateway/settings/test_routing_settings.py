"""How routing is configured, and where problems are found that only others can see."""

import pytest

from gateway.request import Learned, Strategy, TenantPolicy
from gateway.settings import ConfigProblem, SettingsError, locate, needs_restart, settings_from_yaml
from providers.contract import Money

HERE = "deployments:\n  - {name: here, provider: local, model: classic, %s}\n"


def problems(text: str) -> list[str]:
    """Return what is wrong with a configuration, each with its place."""
    with pytest.raises(SettingsError) as refused:
        settings_from_yaml(text, environ={})
    return [f"{each.line}:{each.column} {each.path}: {each.message}" for each in refused.value.problems]


def test_routing_has_its_defaults() -> None:
    """Without a word about it: cheapest first, no hedge, a fifth and three further calls, bounded doubt."""
    routing = settings_from_yaml("{}", environ={}).routing
    assert (Strategy.CHEAPEST, None, 5, 20, 3) == (
        routing.strategy,
        routing.hedge_after_seconds,
        routing.hedge_percent,
        routing.retry_percent,
        routing.retry_at_least,
    )
    assert (Money(500_000), Money(10_000_000)) == (routing.doubt.per_request(), routing.doubt.per_minute())


def test_doubt_is_bounded_as_written() -> None:
    """Null is no limit, and nothing means that nobody is asked again."""
    doubt = settings_from_yaml(
        "routing: {doubt: {per_request_usd: '0', per_minute_usd: null}}", environ={}
    ).routing.doubt
    assert (Money(0), None) == (doubt.per_request(), doubt.per_minute())


def test_tenants_are_routed_as_they_say_or_as_the_house_does() -> None:
    """A tenant's word goes before the general one, a written null included."""
    settings = settings_from_yaml(
        "routing: {strategy: weighted, hedge_after_seconds: p95}\n"
        "tenants: {a: {}, b: {strategy: fastest, hedge_after_seconds: 1}, c: {hedge_after_seconds: null}}\n",
        environ={},
    )
    general = TenantPolicy(strategy=Strategy.WEIGHTED, hedge_after=Learned.P95)
    assert general == settings.default_rules[0]
    assert {
        "a": general,
        "b": TenantPolicy(strategy=Strategy.FASTEST, hedge_after=1.0),
        "c": TenantPolicy(strategy=Strategy.WEIGHTED),
    } == {name: policy for name, (policy, _) in settings.tenant_rules.items()}


def test_deployments_carry_weight_labels_and_bounds() -> None:
    """Each is read as it is written."""
    written = "weight: 0, labels: {team/a: vision}, max_concurrency: 4, max_queue: 0, slow_seconds: 2.5"
    (here,) = settings_from_yaml(HERE % written, environ={}).deployments or ()
    assert (0, {"team/a": "vision"}, 4, 0, 2.5) == (
        here.weight,
        here.labels,
        here.max_concurrency,
        here.max_queue,
        here.slow_seconds,
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("routing: {strategy: best}", "1:21 routing.strategy"),
        ("routing: {hedge_after_seconds: p99}", "1:32 routing.hedge_after_seconds"),
        ("routing: {hedge_after_seconds: 0}", "1:32 routing.hedge_after_seconds"),
        ("routing: {hedge_after_seconds: true}", "1:32 routing.hedge_after_seconds"),
        ("routing: {hedge_after_seconds: .nan}", "1:32 routing.hedge_after_seconds"),
        ("routing: {hedge_percent: 6}", "1:26 routing.hedge_percent"),
        ("routing: {retry_percent: 101}", "1:26 routing.retry_percent"),
        ("routing: {retry_at_least: -1}", "1:27 routing.retry_at_least"),
        ("routing: {doubt: {per_request_usd: 0.5}}", "1:36 routing.doubt.per_request_usd"),
        ("routing: {doubt: {per_minute_usd: '-1'}}", "1:35 routing.doubt.per_minute_usd"),
        (HERE % "weight: -1", "2:59 deployments[0].weight"),
        (HERE % "max_concurrency: 0", "2:68 deployments[0].max_concurrency"),
        (HERE % "max_queue: -1", "2:62 deployments[0].max_queue"),
        (HERE % "slow_seconds: 0", "2:65 deployments[0].slow_seconds"),
        (HERE % "labels: {Team: a}", "2:66 deployments[0].labels.Team"),
    ],
)
def test_what_cannot_hold_is_refused_at_its_place(text: str, place: str) -> None:
    """Each is named with line and column."""
    (problem,) = problems(text)
    assert problem.startswith(f"{place}: ")


def test_problem_found_later_is_located() -> None:
    """The line is that of the field which the message begins with, or of the part itself; one that is there stays."""
    text = "tenants:\n  shop:\n    providers: [nobody]\ndeployments:\n  - name: a\n    model: none\n"
    found = [
        ConfigProblem("deployments[0] (a)", None, None, "model: there is none"),
        ConfigProblem("deployments[0] (a)", None, None, "no field"),
        ConfigProblem("tenants.shop.providers", None, None, "there is no 'nobody'"),
        ConfigProblem("budgets.webhook_secret", None, None, "none"),
        ConfigProblem("", None, None, "nowhere"),
        ConfigProblem("deployments", 7, 8, "known"),
    ]
    assert [(6, 12), (5, 5), (3, 16), (1, 1), (None, None), (7, 8)] == [
        (each.line, each.column) for each in locate(found, text)
    ]
    assert found == locate(found, "[")


def test_only_what_is_built_once_needs_a_restart() -> None:
    """Cache, worker threads and idempotency do; deployments, limits, routing and access do not."""
    running = settings_from_yaml("{}", environ={})
    once = "cache: {max_bytes: 5, ttl_seconds: 6, empty_ttl_seconds: 7}\nidempotency: {ttl_seconds: 90}\n"
    wanted = settings_from_yaml(once + "limits: {worker_threads: 5}\n", environ={})
    assert [
        "cache.max_bytes",
        "cache.ttl_seconds",
        "cache.empty_ttl_seconds",
        "idempotency.ttl_seconds",
        "limits.worker_threads",
    ] == [each.path for each in needs_restart(running, wanted)]
    free = "deployments: []\nlimits: {max_in_flight: 5}\nrouting: {strategy: fastest}\nquotes: {ttl_seconds: 9}\n"
    assert [] == needs_restart(running, settings_from_yaml(free, environ={}))
