"""Prices, markups, tenants and limits in the configuration file, and every way in which they are refused."""

from __future__ import annotations

from fractions import Fraction

import pytest

from gateway.request import UNRESTRICTED, RateLimit, TenantPolicy
from gateway.settings import ConfigProblem, PriceSettings, SettingsError, load_settings, settings_from_yaml
from gateway.settings.moments import micros_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

GOOD = f"""\
deployments:
  - name: eu
    provider: runflow
    model: m
    markup: "1.15"
    prices:
      - {{usd: "0.12", valid_from: 2026-12-01T09:30:00.5+01:00, source: the announcement}}
      - {{usd: "0.005", valid_from: 2026-04-05, source: the page}}
  - {{name: us, provider: runflow, model: m}}
pricing: {{markup: "1.1", drift_alarm_percent: 2.5}}
tenants:
  acme:
    providers: [runflow]
    regions: [eu, local]
    share_cache: true
    markup: "1"
    prices: {{us: "0.006"}}
    requests_per_second: 0.5
    burst: 3
    concurrency: null
  globex: {{}}
limits: {{requests_per_second: 50, burst: 100, concurrency: 20}}
admin: {{port: 8081}}
quotes: {{ttl_seconds: 60}}
idempotency: {{ttl_seconds: 3600}}
budgets: {{webhook_url: "https://hooks.example/budgets?to=me", webhook_secret: "{SECRET}"}}
"""


def problems_of(text: str) -> list[ConfigProblem]:
    """Return what is wrong in a configuration."""
    with pytest.raises(SettingsError) as refused:
        settings_from_yaml(text, environ={}, source="maskgate.yaml")
    return refused.value.problems


def test_the_sections_of_money_are_read() -> None:
    """Each part arrives in its exact form."""
    settings = settings_from_yaml(GOOD, environ={})
    eu, us = settings.deployments or ()
    assert ["0.12", "0.005"] == [price.usd for price in eu.dated_prices]
    assert (Fraction("1.15"), None, ()) == (eu.markup, us.markup, us.dated_prices)
    assert (Fraction("1.1"), Fraction("2.5")) == (settings.pricing.markup, settings.pricing.drift_alarm_percent)
    assert (Fraction(1), {"us": "0.006"}) == (settings.tenants["acme"].markup, settings.tenants["acme"].prices)
    assert (8081, 60, 3600) == (settings.admin.port, settings.quotes.ttl_seconds, settings.idempotency.ttl_seconds)
    assert ("https://hooks.example/budgets?to=me", SECRET) == (
        settings.budgets.webhook_url,
        settings.budgets.webhook_secret,
    )
    assert SECRET not in repr(settings)
    assert "hooks.example" not in repr(settings)


def test_a_tenant_s_rules_stand_over_the_general_ones() -> None:
    """What a tenant names is its own, a written null is no limit, and the rest is the general limit."""
    settings = settings_from_yaml(GOOD, environ={})
    policy = TenantPolicy(frozenset({"runflow"}), frozenset({"eu", "local"}), share_cache=True)
    general = RateLimit(Fraction(50), 100, 20)
    assert {
        "acme": (policy, RateLimit(Fraction(1, 2), 3, None)),
        "globex": (UNRESTRICTED, general),
    } == settings.tenant_rules
    assert (UNRESTRICTED, general) == settings.default_rules


def test_without_a_file_money_is_passed_on_and_nobody_is_limited() -> None:
    """The defaults of every section."""
    settings = load_settings(config=None, environ={})
    assert (Fraction(1), Fraction(5)) == (settings.pricing.markup, settings.pricing.drift_alarm_percent)
    assert (UNRESTRICTED, RateLimit()) == settings.default_rules
    assert {} == settings.tenant_rules
    assert (None, 300, 86_400) == (
        settings.admin.port,
        settings.quotes.ttl_seconds,
        settings.idempotency.ttl_seconds,
    )
    assert ("", "") == (settings.budgets.webhook_url, settings.budgets.webhook_secret)


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("1970-01-01", 0),
        ("2026-01-31", 1_769_817_600_000_000),
        ("2026-01-31T00:00Z", 1_769_817_600_000_000),
        ("2026-01-31T01:00:00+01:00", 1_769_817_600_000_000),
        ("2026-01-31T00:00:00.000001Z", 1_769_817_600_000_001),
        ("0001-01-01T00:00+14:00", -62_135_647_200_000_000),
    ],
)
def test_a_moment_is_exact_to_the_microsecond(written: str, micros: int) -> None:
    """A day begins at midnight, UTC."""
    assert micros == micros_of(written)


def test_the_admin_port_comes_from_the_environment_first() -> None:
    """An empty variable is none, and a wrong one is refused by its name."""
    assert 9000 == settings_from_yaml(GOOD, environ={"MASKGATE_ADMIN_PORT": "9000"}).admin.port
    assert 8081 == settings_from_yaml(GOOD, environ={"MASKGATE_ADMIN_PORT": ""}).admin.port
    assert 9000 == load_settings(config=None, environ={"MASKGATE_ADMIN_PORT": "9000"}).admin.port
    for wrong in ("0", "65536", "http", "-1", "9000 "):
        with pytest.raises(
            SettingsError, match=r"^MASKGATE_ADMIN_PORT: not a port: .*; write a number from 1 to 65535$"
        ):
            load_settings(config=None, environ={"MASKGATE_ADMIN_PORT": wrong})


#: A deployment on lines 1 to 7; its two prices are on lines 6 and 7, from column 5 on.
TWO = """\
deployments:
- name: a
  provider: local
  model: classic
  prices:
  - {usd: "1", valid_from: %s, source: x%s}
  - {usd: "2", valid_from: %s, source: x%s}
"""
ONE = "deployments:\n- name: a\n  provider: p\n  model: m\n"
PRICE = 'usd: "1", valid_from: 2026-06-01, source: x'
LATE = ", valid_until: 2026-06-01"
TENANT = "tenants:\n  acme:\n    %s\n"
LISTED = "deployments:\n- {name: a, provider: local, model: classic}\n"

DEAR = (
    "deployments:\n- {name: a, provider: local, model: classic, price: {usd: %s, valid_from: 2026-01-01, source: x}}\n"
)

FAULTS: list[tuple[str, int, int, str, str]] = [
    *(
        (DEAR % usd + after, 2, 59, "deployments[0].price.usd", words)
        for usd, after, words in (
            ('"15373", unit: second', "", "$15373 x 600 s is more than one reservation can hold"),
            ('"9300"', "pricing: {markup: '1000'}", "$9300 x markup 1000 is more than one reservation can hold"),
            ('"9300"', "tenants: {acme: {markup: '1000'}}", "write a lower price or markup"),
        )
    ),
    (
        DEAR % '"1", unit: second' + TENANT % 'prices: {a: "15373"}',
        5,
        17,
        "tenants.acme.prices.a",
        "$15373 x 600 s is more than one reservation can hold, $9,223,372",
    ),
    (
        TWO % ("2026-01-01", LATE, "2026-05-31", ""),
        6,
        64,
        "deployments[0].prices[0].valid_until",
        "overlaps with prices[1]",
    ),
    (
        TWO % ("2026-05-31", "", "2026-01-01", LATE),
        7,
        64,
        "deployments[0].prices[1].valid_until",
        "overlaps with prices[0]",
    ),
    (
        TWO % ("2026-01-01", "", "2026-01-01", ""),
        7,
        28,
        "deployments[0].prices[1].valid_from",
        "begins at the same moment",
    ),
    (
        TWO % ("2026-01-01", "", "2026-01-01T02:00+02:00", ""),
        7,
        28,
        "deployments[0].prices[1].valid_from",
        "one price holds at a time",
    ),
    (
        TWO % ("2026-06-01", LATE, "2026-07-01", ""),
        6,
        64,
        "deployments[0].prices[0].valid_until",
        "not after valid_from",
    ),
    (
        TWO % ("2026-01-01", ", valid_until: June", "2026-07-01", ""),
        6,
        64,
        "deployments[0].prices[0].valid_until",
        "neither a day, as 2026-01-31",
    ),
    (
        ONE + '  price: {usd: "1", valid_from: 2026-06-01, valid_until: 2026-06-01, source: x}',
        5,
        58,
        "deployments[0].price.valid_until",
        "not after valid_from (2026-06-01)",
    ),
    (
        "deployments:\n- {name: a, provider: p, model: m, prices: []}",
        2,
        44,
        "deployments[0].prices",
        "an empty list; leave prices out",
    ),
    (
        ONE + f"  price: {{{PRICE}}}\n  prices: [{{{PRICE}}}]",
        6,
        11,
        "deployments[0].prices",
        "price stands beside it",
    ),
    (
        "deployments:\n- {name: a, provider: p, model: m, markup: 1.15}",
        2,
        44,
        "deployments[0].markup",
        'write the markup as text, so that it stays exact: "1.15"',
    ),
    (
        'deployments:\n- {name: a, provider: p, model: m, markup: "-0.1"}',
        2,
        44,
        "deployments[0].markup",
        "a markup below zero: -0.1",
    ),
    ("pricing: {markup: true}", 1, 19, "pricing.markup", 'so that it stays exact: "1.15"'),
    ('pricing: {markup: "115%"}', 1, 19, "pricing.markup", "a markup is a decimal number with six decimals at most"),
    ('pricing: {markup: "1.1234567"}', 1, 19, "pricing.markup", "six decimals at most"),
    ('pricing: {markup: "1e3"}', 1, 19, "pricing.markup", "six decimals at most"),
    ('pricing: {markup: "1000.1"}', 1, 19, "pricing.markup", "it is a factor, not percent"),
    ("pricing: {drift_alarm_percent: 0}", 1, 32, "pricing.drift_alarm_percent", "write null for no alarm"),
    ("pricing: {drift_alarm_percent: -1}", 1, 32, "pricing.drift_alarm_percent", "got -1"),
    ("pricing: {drift_alarm_percent: .nan}", 1, 32, "pricing.drift_alarm_percent", "a percentage is a decimal number"),
    ("pricing: {drift_alarm_percent: [5]}", 1, 32, "pricing.drift_alarm_percent", "a percentage is a number, as 5"),
    (
        LISTED + TENANT % 'prices: {b: "0.006"}',
        5,
        17,
        "tenants.acme.prices.b",
        "this file has no deployment 'b': it lists a",
    ),
    (
        TENANT % 'prices: {runflow: "0.006"}',
        3,
        23,
        "tenants.acme.prices.runflow",
        "this file has no deployment 'runflow': it lists none",
    ),
    (LISTED + TENANT % "prices: {a: 0.006}", 5, 17, "tenants.acme.prices.a", 'so that it stays exact: "0.006"'),
    (LISTED + TENANT % 'prices: {a: "-1"}', 5, 17, "tenants.acme.prices.a", "a price below zero"),
    (LISTED + TENANT % 'prices: {a: "0.0000001"}', 5, 17, "tenants.acme.prices.a", "finer than a micro-dollar"),
    (LISTED + TENANT % "prices: {a: null}", 5, 17, "tenants.acme.prices.a", "write the amount in dollars as text"),
    (TENANT % "providers: []", 3, 16, "tenants.acme.providers", "allows none; leave it out to allow every one"),
    (TENANT % "regions: eu", 3, 14, "tenants.acme.regions", "valid tuple"),
    (TENANT % "provider: [runflow]", 3, 15, "tenants.acme.provider", "unknown field"),
    (TENANT % "requests_per_second: 0", 3, 26, "tenants.acme.requests_per_second", "a rate above zero, got 0"),
    (
        TENANT % "requests_per_second: yes",
        3,
        26,
        "tenants.acme.requests_per_second",
        'a rate is a number, as 10 or "0.5"',
    ),
    (TENANT % "requests_per_second: 2000000", 3, 26, "tenants.acme.requests_per_second", "at most 1000000 requests"),
    (TENANT % "burst: 5", 3, 12, "tenants.acme.burst", "a burst without requests_per_second limits nothing"),
    (TENANT % "concurrency: 0", 3, 18, "tenants.acme.concurrency", "greater than or equal to 1"),
    ("tenants: {a b: {}}", 1, 16, "tenants.a b", "pattern"),
    ("tenants: [acme]", 1, 10, "tenants", "valid dictionary"),
    ("limits: {burst: 5}", 1, 17, "limits.burst", "a burst without requests_per_second limits nothing"),
    ("limits: {requests_per_second: 0.0000001}", 1, 31, "limits.requests_per_second", "a decimal number"),
    ("admin: {port: 0}", 1, 15, "admin.port", "greater than or equal to 1"),
    ("quotes: {ttl_seconds: 0}", 1, 23, "quotes.ttl_seconds", "greater than or equal to 1"),
    ("idempotency: {ttl_seconds: 5}", 1, 28, "idempotency.ttl_seconds", "greater than or equal to 60"),
    *(
        (f"budgets: {{webhook_url: '{url}', webhook_secret: {SECRET}}}", 1, 24, "budgets.webhook_url", words)
        for url, words in (
            ("http://127.0.0.1:9/told", "127.0.0.1:9 is a private address; write it under fetch.allow_webhooks"),
            ("http://localhost/told", "127.0.0.1:80 is a private address"),
            ("https://[fd00::7]/told", "[fd00::7]:443 is a private address"),
        )
    ),
    ("budgets: {webhook_url: ftp://a}", 1, 24, "budgets.webhook_url", "write it as https://host/path"),
    ("budgets: {webhook_url: https://a.example/x}", 1, 10, "budgets.webhook_secret", "missing beside webhook_url"),
    (f"budgets: {{webhook_secret: {SECRET}}}", 1, 10, "budgets.webhook_url", "missing beside webhook_secret"),
    (
        "budgets: {webhook_secret: hush-hush}",
        1,
        27,
        "budgets.webhook_secret",
        "write whsec_ and the base64 of 24 to 64",
    ),
    (
        "budgets: {webhook_secret: whsec_aGk=}",
        1,
        27,
        "budgets.webhook_secret",
        "write whsec_ and the base64 of 24 to 64",
    ),
]


@pytest.mark.parametrize(("text", "line", "column", "path", "words"), FAULTS)
def test_a_fault_of_money_is_told_with_its_place(text: str, line: int, column: int, path: str, words: str) -> None:
    """One problem, at its line and column, by its path, with what to write instead."""
    (problem,) = problems_of(text)
    assert (line, column, path) == (problem.line, problem.column, problem.path)
    assert words in problem.message


@pytest.mark.parametrize(
    "text",
    [
        DEAR % '"15372", unit: second' + TENANT % 'prices: {a: "15372"}',
        DEAR % '"9223"' + "pricing: {markup: '1000'}",
        DEAR % '"9223372"' + TENANT % 'markup: "1"' + "pricing: {markup: '1'}",
    ],
)
def test_the_largest_prices_that_can_be_reserved_are_taken(text: str) -> None:
    """What one reservation can hold is no problem."""
    settings_from_yaml(text, environ={})


def test_every_contradiction_is_told_at_once() -> None:
    """What cannot hold together in several places is told of in all of them."""
    text = TWO % ("2026-01-01", LATE, "2026-05-31", "") + TENANT % 'prices: {b: "1", c: "1"}' + "limits: {burst: 5}\n"
    assert [
        (6, "deployments[0].prices[0].valid_until"),
        (10, "tenants.acme.prices.b"),
        (10, "tenants.acme.prices.c"),
        (11, "limits.burst"),
    ] == [(problem.line, problem.path) for problem in problems_of(text)]


def test_a_refused_secret_is_not_shown() -> None:
    """Neither in the problem nor in what a traceback would print."""
    with pytest.raises(SettingsError) as refused:
        settings_from_yaml("budgets: {webhook_secret: hush-hush}", environ={})
    assert "hush-hush" not in f"{refused.value}{refused.value.__cause__}"


def test_figures_that_are_exact_already_are_taken() -> None:
    """Settings made in code may hold fractions, and a price in the file is a price by itself."""
    settings = settings_from_yaml('limits: {requests_per_second: "0.1"}', environ={})
    assert Fraction(1, 10) == settings.limits.requests_per_second
    again = type(settings.limits).model_validate({"requests_per_second": settings.limits.requests_per_second})
    assert settings.limits == again
    assert PriceSettings(usd="0", valid_from="2026-01-01", source="x").valid_until is None
