"""Which deployments could answer, in which order they are asked, and what is said when there is none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.problems import (
    AllDeploymentsUnavailable,
    Forbidden,
    GatewayError,
    NoDeployment,
    PromptTooLong,
    UnsupportedCapability,
)
from gateway.request import Fit, Route, Strategy, TenantPolicy
from gateway.routing.health import BreakerState, Cause, HealthView
from gateway.routing.latency import Pace
from gateway.routing.ranking import Exclusion, Reason, explain, rank
from providers.contract import (
    AutomaticPrompt,
    Box,
    Capabilities,
    ExemplarBox,
    ExemplarsPrompt,
    Model,
    Money,
    ObjectPrompt,
    Point,
    PriceUnit,
    Prompt,
    PromptKind,
    Question,
    TextPrompt,
)
from tests.gateway.routing.offers import (
    ALL_KINDS,
    CLOSED,
    HALF_OPEN,
    TEXT_ONLY,
    PricedOffer,
    limited,
    offer,
    opened,
    question,
    screen,
)

ANYWHERE = Route()
OPEN = BreakerState.OPEN
BOX = Box(0, 0, 5, 5)
EXEMPLARS = ExemplarsPrompt((ExemplarBox(BOX),), "shoe")
CATALOGUE = {
    "prodia": {"sam-3": Model("sam-3", "sam3", TEXT_ONLY)},
    "local": {"classic": Model("classic", "classic", ALL_KINDS)},
}


def out(offers: Sequence[PricedOffer], asked: Question, route: Route = ANYWHERE) -> list[tuple[str, Reason]]:
    """Return who is screened out, and why."""
    return [(each.deployment, each.reason) for each in screen(asked, route, offers).exclusions]


def order(offers: Sequence[PricedOffer], route: Route, views: dict[str, HealthView] | None = None) -> list[str]:
    """Return who would be asked, in order, with a minute's time."""
    health = {each.name: CLOSED for each in offers} | (views or {})
    return [each.name for each in rank(screen(question(), route, offers), route, health, seconds=60)[0]]


def capable(*kinds: PromptKind, points: bool = False, boxes: bool = False) -> Capabilities:
    """Return capabilities of these kinds."""
    return Capabilities(frozenset(kinds), points, boxes)


OBJECT, EXEMPLARS_KIND = PromptKind.OBJECT, PromptKind.EXEMPLARS


@pytest.mark.parametrize(
    ("capabilities", "prompt", "covered"),
    [
        (TEXT_ONLY, TextPrompt("x"), True),
        (TEXT_ONLY, AutomaticPrompt(), False),
        (TEXT_ONLY, EXEMPLARS, False),
        (TEXT_ONLY, ObjectPrompt((Point(1, 1),)), False),
        (capable(PromptKind.AUTOMATIC), AutomaticPrompt(), True),
        (capable(PromptKind.AUTOMATIC), TextPrompt("x"), False),
        (capable(EXEMPLARS_KIND), EXEMPLARS, True),
        (capable(OBJECT), ObjectPrompt((Point(1, 1),)), False),
        (capable(OBJECT, points=True), ObjectPrompt((Point(1, 1),)), True),
        (capable(OBJECT, points=True), ObjectPrompt((), BOX), False),
        (capable(OBJECT, points=True), ObjectPrompt((Point(1, 1),), BOX), False),
        (capable(OBJECT, boxes=True), ObjectPrompt((), BOX), True),
        (capable(OBJECT, boxes=True), ObjectPrompt((Point(1, 1),), BOX), False),
        (capable(OBJECT, points=True, boxes=True), ObjectPrompt((Point(1, 1),), BOX), True),
        (capable(PromptKind.TEXT, points=True, boxes=True), ObjectPrompt((), BOX), False),
    ],
)
def test_a_model_is_asked_only_what_it_takes(capabilities: Capabilities, prompt: Prompt, *, covered: bool) -> None:
    """Points and boxes count each by themselves: half of a prompt is never left out."""
    expected = [] if covered else [("a", Reason.UNSUPPORTED)]
    assert expected == out([offer("a", capabilities=capabilities)], question(prompt))


@pytest.mark.parametrize(
    ("route", "stays"),
    [
        (Route(), "eu us local"),
        (Route(deployments=frozenset({"us"})), "us"),
        (Route(deployments=frozenset({"us", "nowhere"})), "us"),
        (Route(providers=frozenset({"runflow"})), "eu us"),
        (Route(regions=frozenset({"eu", "local"})), "eu local"),
        (Route(providers=frozenset({"runflow"}), regions=frozenset({"eu"})), "eu"),
        (Route(deployments=frozenset({"us"}), regions=frozenset({"eu"})), ""),
        (Route(deployments=frozenset()), ""),
    ],
)
def test_a_route_leaves_in_what_it_names(route: Route, stays: str) -> None:
    """Deployments, providers and regions each have to agree, so residency covers every candidate."""
    offers = [offer("eu"), offer("us", region="us"), offer("local", provider="local", region="local")]
    screening = screen(question(), route, offers)
    assert stays.split() == [each.name for each in screening.candidates]
    assert {Reason.NOT_WANTED} >= {each.reason for each in screening.exclusions}
    assert 3 == len(screening.candidates) + len(screening.exclusions)


PRODIA = limited(min_side=256, max_side=4096, max_bytes=10_000, max_prompt_characters=500)


@pytest.mark.parametrize(
    ("asked", "reason", "words"),
    [
        ({"width": 256, "height": 300}, None, ""),
        ({"width": 255, "height": 300}, Reason.LIMITS, "255 x 300, it takes sides of at least 256"),
        ({"width": 300, "height": 255}, Reason.LIMITS, "300 x 255"),
        ({"width": 4096, "height": 4096}, None, ""),
        ({"width": 4097, "height": 300}, Reason.LIMITS, "4097 x 300, it takes sides of at most 4096"),
        ({"width": 300, "height": 4097}, Reason.LIMITS, "300 x 4097"),
        ({"size": 10_000}, None, ""),
        ({"size": 10_001}, Reason.LIMITS, "10001 bytes, it takes at most 10000"),
        ({"prompt": TextPrompt("x" * 500)}, None, ""),
        ({"prompt": TextPrompt("靴" * 500)}, None, ""),
        ({"prompt": TextPrompt("x" * 501)}, Reason.PROMPT_TOO_LONG, "at most 500 characters, this one has 501"),
        ({"prompt": ExemplarsPrompt((ExemplarBox(BOX),), "x" * 501)}, Reason.PROMPT_TOO_LONG, "501"),
        ({"prompt": ExemplarsPrompt((ExemplarBox(BOX),))}, None, ""),
        ({"prompt": AutomaticPrompt()}, None, ""),
    ],
)
def test_limits_hold_to_the_pixel_the_byte_and_the_character(
    asked: dict[str, Any], reason: Reason | None, words: str
) -> None:
    """What is just allowed is asked, what is just beyond is not, and the figures are in the reason."""
    exclusions = screen(question(**asked), ANYWHERE, [offer("a", capabilities=PRODIA)], Fit.STRICT).exclusions
    assert ([] if reason is None else [reason]) == [each.reason for each in exclusions]
    assert all(words in each.detail for each in exclusions)


def test_a_format_that_a_model_does_not_take_is_outside_of_its_limits() -> None:
    """The reason names what it takes."""
    narrow = limited(media_types=frozenset({"image/png", "image/jpeg"}))
    offers = [offer("a", capabilities=narrow)]
    (exclusion,) = screen(question(media_type="image/webp"), ANYWHERE, offers, Fit.STRICT).exclusions
    assert "the picture is image/webp, it takes image/jpeg, image/png" == exclusion.detail


@pytest.mark.parametrize(
    "asked",
    [{"width": 255, "height": 300}, {"width": 4097, "height": 300}, {"size": 10_001}, {"media_type": "image/webp"}],
)
def test_a_picture_beyond_the_limits_is_made_to_fit_where_it_may_be(asked: dict[str, Any]) -> None:
    """Under `auto` the deployment stays in, with a plan; a picture that can go as it is has none."""
    jpeg_too = limited(
        min_side=256, max_side=4096, max_bytes=10_000, media_types=frozenset({"image/png", "image/jpeg"})
    )
    offers = [offer("narrow", capabilities=jpeg_too), offer("wide")]
    narrow, wide = screen(question(**asked), ANYWHERE, offers, Fit.AUTO).candidates
    assert narrow.plan is not None
    assert wide.plan is None


def test_a_picture_that_nothing_makes_fit_says_why() -> None:
    """A strip of which nothing would be left is outside of the limits under `auto` as well."""
    narrow = limited(max_side=2048)
    (exclusion,) = screen(question(width=8, height=4000), ANYWHERE, [offer("a", capabilities=narrow)]).exclusions
    assert Reason.LIMITS == exclusion.reason
    assert "scaled down to the 2048 pixels that it takes, the shorter side would have 4" in exclusion.detail


def test_for_the_same_money_the_picture_goes_as_it_is() -> None:
    """Whoever takes it untouched is asked before one for which it has to be changed, and after a cheaper one."""
    fitted = offer("a", 5000, capabilities=PRODIA)
    offers = [fitted, offer("b", 5000), offer("c", 4999, capabilities=PRODIA)]
    screening = screen(SMALL, ANYWHERE, offers)
    health = {each.name: CLOSED for each in offers}
    assert ["c", "b", "a"] == [each.name for each in rank(screening, ANYWHERE, health, seconds=60)[0]]


def test_a_deployment_without_a_price_takes_no_traffic() -> None:
    """What it costs is not known, so nothing could be reserved for it."""
    assert [("b", Reason.NO_PRICE)] == out([offer("a"), offer("b", None)], question())


def test_the_cheapest_is_asked_first_and_priority_breaks_ties() -> None:
    """By what a call is likely to cost, then by the operator's order, then by name."""
    offers = [
        offer("dear", 120_000),
        offer("late", 5000, priority=9),
        offer("b", 5000),
        offer("a", 5000),
        offer("free", 0, priority=1000),
        offer("seconds", 6000, unit=PriceUnit.SECOND),  # unknown: a second is hoped for
    ]
    assert ["free", "a", "b", "late", "seconds", "dear"] == order(offers, ANYWHERE)


@pytest.mark.parametrize(
    ("usual", "declared", "ceiling", "expected"),
    [
        (0.1, 1.0, 1000, ["gpu"]),  # it passes a ceiling of what it declares, and costs a tenth of that
        (0.1, 1.0, 999, []),
        (0.1, None, None, ["gpu", "runflow"]),
        (6.0, None, None, ["runflow", "gpu"]),
        (6.0, 4.0, None, ["gpu", "runflow"]),  # it is not charged for more than it declares
        (None, None, None, ["gpu", "runflow"]),  # whoever is new is tried
    ],
)
def test_a_price_by_the_second_counts_as_what_calls_took(
    usual: float | None, declared: float | None, ceiling: int | None, expected: list[str]
) -> None:
    """The cheapest is who usually is; what a call can cost at most is what its deployment declares."""
    gpu = replace(offer("gpu", 1000, unit=PriceUnit.SECOND), declared_seconds=declared)
    offers, health = [offer("runflow", 5000), gpu], {"gpu": CLOSED, "runflow": CLOSED}
    route = Route(max_charge=None if ceiling is None else Money(ceiling))
    paces = {} if usual is None else {"gpu": Pace(usual, 0.0, usual)}
    found, _ = rank(screen(question(), route, offers), route, health, seconds=30, paces=paces)
    assert expected == [each.name for each in found]


LAST = replace(offer("classic", 0), declared_last_resort=True)


@pytest.mark.parametrize(
    ("others", "route", "expected"),
    [
        ([offer("sam")], ANYWHERE, ["sam"]),
        ([offer("sam")], Route(deployments=frozenset({"classic"})), ["classic"]),
        ([offer("sam")], Route(deployments=frozenset({"classic", "sam"})), ["classic", "sam"]),
        ([offer("sam", capabilities=TEXT_ONLY)], ANYWHERE, ["classic"]),
        ([offer("sam")], Route(regions=frozenset({"local"})), ["classic"]),
        ([offer("sam", None)], ANYWHERE, []),  # it takes no traffic, and still it is a peer's prompt
        ([offer("sam", capabilities=limited(max_side=10))], ANYWHERE, []),
        ([], ANYWHERE, ["classic"]),
    ],
)
def test_a_last_resort_is_asked_by_name_or_where_nobody_else_takes_the_prompt(
    others: list[PricedOffer], route: Route, expected: list[str]
) -> None:
    """It is nobody's silent failover, whatever has become of the others."""
    at_home = replace(LAST, deployment=replace(LAST.deployment, region="local"))
    asked = question(AutomaticPrompt())
    screening = screen(asked, route, [at_home, *others], Fit.STRICT)
    assert expected == [each.name for each in screening.candidates]


def test_a_last_resort_that_is_spared_says_how_it_is_asked() -> None:
    """Its exclusion names the remedy."""
    [exclusion] = screen(question(), ANYWHERE, [LAST, offer("sam")]).exclusions
    assert (Reason.LAST_RESORT, True) == (exclusion.reason, "name it in route.deployments" in exclusion.detail)


def test_priority_goes_before_cost_where_it_is_asked_for() -> None:
    """The operator's order first, then the cost, then the name."""
    offers = [offer("cheap", 1, priority=2), offer("b", 9, priority=1), offer("a", 9, priority=1), offer("c", 8)]
    assert ["c", "a", "b", "cheap"] == order(offers, Route(strategy=Strategy.PRIORITY))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=8), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_file_s(figures: list[tuple[int, int]], chance: Any) -> None:
    """However the deployments stand in the configuration, they are asked in one order."""
    offers = [offer(f"d{index}", cost, priority=first) for index, (cost, first) in enumerate(figures)]
    shuffled = offers.copy()
    chance.shuffle(shuffled)
    for strategy in Strategy:
        assert order(offers, Route(strategy)) == order(shuffled, Route(strategy))


def test_who_is_open_is_out_and_who_may_be_probed_is_in() -> None:
    """An open breaker says until when; a half open one is asked in its turn."""
    offers = [offer("a", 1), offer("b", 2), offer("c", 3)]
    views = {"a": opened(12.5, "503 from the provider"), "b": HALF_OPEN, "c": CLOSED}
    candidates, exclusions = rank(screen(question(), ANYWHERE, offers), ANYWHERE, views, seconds=60)
    assert ["b", "c"] == [each.name for each in candidates]
    assert [Exclusion("a", Reason.UNAVAILABLE, "503 from the provider", 12.5)] == exclusions


@pytest.mark.parametrize(
    ("ceiling", "stays"),
    [(None, "a seconds b"), (6000, "a seconds b"), (5999, "a b"), (5000, "a b"), (4999, "a"), (1, "a"), (0, "")],
)
def test_nobody_is_asked_whose_call_could_cost_more_than_the_ceiling(ceiling: int | None, stays: str) -> None:
    """To the micro-dollar, and for a price by the second by the whole time that is left."""
    offers = [offer("a", 1), offer("b", 5000), offer("seconds", 100, unit=PriceUnit.SECOND)]
    route = Route(max_charge=None if ceiling is None else Money(ceiling))
    assert stays.split() == order(offers, route)


def test_the_ceiling_s_reason_says_what_a_call_can_cost() -> None:
    """The caller reads how far to raise it."""
    route = Route(max_charge=Money(100))
    _, exclusions = rank(screen(question(), route, [offer("a")]), route, {"a": CLOSED}, seconds=60)
    assert [Exclusion("a", Reason.TOO_DEAR, "a call can cost 0.005000 dollars")] == exclusions


def explained(
    offers: Sequence[PricedOffer],
    asked: Question,
    route: Route = ANYWHERE,
    *,
    views: dict[str, HealthView] | None = None,
    field: str = "prompts[0]",
) -> GatewayError:
    """Return the problem of a question that nobody can be asked, about a picture that may not be changed."""
    screening = screen(asked, route, offers, Fit.STRICT)
    health = {each.name: CLOSED for each in offers} | (views or {})
    candidates, more = rank(screening, route, health, seconds=60)
    assert [] == candidates
    return explain(asked, route, [*screening.exclusions, *more], catalogue=CATALOGUE, field=field, offers=offers)


AUTOMATIC = question(AutomaticPrompt())
LONG = question(TextPrompt("x" * 501))
SMALL = question(width=100)
EU = Route(regions=frozenset({"eu"}))
POOR = Route(max_charge=Money(1))
TEXT = offer("text", capabilities=TEXT_ONLY)
NARROW = offer("narrow", capabilities=PRODIA)
UNPRICED = offer("unpriced", None)
AWAY = offer("away", region="us")

EXPLAINED: list[tuple[Sequence[PricedOffer], Question, Route, type[GatewayError], str | None, str]] = [
    ([AWAY], question(), EU, NoDeployment, "route", r"configured here \(away\)"),
    ([], question(), ANYWHERE, NoDeployment, None, "no deployment is configured here"),
    ([], question(), EU, NoDeployment, None, "no deployment is configured here"),
    ([TEXT], AUTOMATIC, ANYWHERE, UnsupportedCapability, "prompts[0]", "takes automatic prompts. Who could: local cl"),
    ([TEXT, AWAY], AUTOMATIC, EU, UnsupportedCapability, "prompts[0]", "local classic$"),
    ([NARROW], LONG, ANYWHERE, PromptTooLong, "prompts[0].text", "narrow: it takes texts of at most 500"),
    ([NARROW], SMALL, ANYWHERE, NoDeployment, "image", "outside the limits of every deployment"),
    ([NARROW, TEXT], question(AutomaticPrompt(), width=9), ANYWHERE, NoDeployment, "image", "narrow: .*text: "),
    ([UNPRICED], question(), ANYWHERE, NoDeployment, None, "unpriced: it has no price"),
    ([UNPRICED], question(), EU, NoDeployment, "route", "it has no price"),
    ([offer("a")], question(), POOR, NoDeployment, "route.max_charge_usd", "raise it, or leave it out"),
    ([offer("a"), UNPRICED, NARROW], SMALL, POOR, NoDeployment, "route.max_charge_usd", "too low"),
]


@pytest.mark.parametrize(("offers", "asked", "route", "kind", "field", "words"), EXPLAINED)
def test_the_nearest_miss_decides_what_is_said(
    offers: Sequence[PricedOffer],
    asked: Question,
    route: Route,
    kind: type[GatewayError],
    field: str | None,
    words: str,
) -> None:
    """The problem is the one that the caller could cure most easily, with the field to change."""
    problem = explained(offers, asked, route)
    assert (kind, field) == (type(problem), problem.field)
    with pytest.raises(kind, match=words):
        raise problem


def test_the_short_form_s_field_is_the_prompt_itself() -> None:
    """Who wrote `prompt` is not told of `prompt.text`."""
    assert "prompt" == explained([NARROW], LONG, field="prompt").field


def test_who_could_answer_is_told_from_every_installed_provider() -> None:
    """Configured or not, whoever takes such a prompt is named; and the form of the prompt is."""
    one = explained([TEXT], question(ObjectPrompt((Point(1, 1),), BOX)))
    assert "object (points and a box) prompts. Who could: local classic" in one.message
    other = explain(
        AUTOMATIC, ANYWHERE, screen(AUTOMATIC, ANYWHERE, [TEXT]).exclusions, catalogue={}, field="p", offers=[TEXT]
    )
    assert other.message.endswith("Who could: no installed provider")


@pytest.mark.parametrize(("seconds", "told"), [((30.0, 12.0), 12.0), ((0.2, 40.0), 1.0), ((300.0, 299.5), 299.5)])
def test_when_everybody_is_open_the_first_to_come_back_is_told(seconds: tuple[float, float], told: float) -> None:
    """A caller waits for the earliest, and at least a second."""
    views = {"a": opened(seconds[0]), "b": opened(seconds[1])}
    problem = explained([offer("a"), offer("b")], question(), views=views)
    assert (AllDeploymentsUnavailable, told) == (type(problem), problem.retry_after_seconds)


def test_waiting_is_said_before_paying_more() -> None:
    """Where one deployment is open and another too dear, the caller may wait or raise the ceiling: both are listed."""
    problem = explained([offer("a", 1), offer("b")], question(), POOR, views={"a": opened(5, "no connection")})
    assert isinstance(problem, AllDeploymentsUnavailable)
    assert "a: no connection" in problem.message
    assert "b: a call can cost 0.005000 dollars" in problem.message


def test_every_reason_stands_in_a_quote_under_its_name() -> None:
    """The set of reasons is closed, and part of the API."""
    names = (
        "not_wanted not_allowed unsupported_capability prompt_too_long picture_outside_limits no_price needs_key"
        " last_resort above_max_charge budget_exceeded unavailable drained"
    )
    assert names.split() == [reason.value for reason in Reason]


@pytest.mark.parametrize(
    ("policy", "stays"),
    [
        (TenantPolicy(providers=frozenset({"runflow"})), "eu us"),
        (TenantPolicy(regions=frozenset({"eu"})), "eu prodia"),
        (TenantPolicy(providers=frozenset({"runflow"}), regions=frozenset({"us"})), "us"),
        (TenantPolicy(providers=frozenset({"fal"})), ""),
    ],
)
def test_policy_leaves_out_what_the_operator_does_not_allow(policy: TenantPolicy, stays: str) -> None:
    """Provider and region both have to be allowed; where nothing is left, the caller is told that it is forbidden."""
    offers = [offer("eu"), offer("us", region="us"), offer("prodia", provider="prodia")]
    screening = screen(question(), ANYWHERE, offers, policy=policy)
    assert stays.split() == [each.name for each in screening.candidates]
    assert {Reason.NOT_ALLOWED} == {each.reason for each in screening.exclusions}
    if not stays:
        problem = explain(
            question(), ANYWHERE, screening.exclusions, catalogue=CATALOGUE, field="prompt", offers=offers
        )
        assert isinstance(problem, Forbidden)


def test_a_promised_order_goes_before_every_strategy() -> None:
    """A quote names who is asked in which order, whatever has become cheaper meanwhile."""
    offers = [offer("a", 5000), offer("b", 4000), offer("c", 3000)]
    screening = screen(question(), ANYWHERE, offers)
    health = {each.name: CLOSED for each in offers}
    ranked, _ = rank(screening, ANYWHERE, health, seconds=60, order=["b", "a", "c"])
    assert ["b", "a", "c"] == [each.name for each in ranked]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_residency_fails_closed(strategy: Strategy) -> None:
    """Where regions are named, one whose region is not known to be among them is out, under every strategy."""
    offers = [offer("eu"), offer("us", region="us"), offer("nowhere", region="global")]
    route, policy = Route(strategy), TenantPolicy(regions=frozenset({"eu"}))
    for screening in (
        screen(question(), route, offers, policy=policy),
        screen(question(), Route(strategy, regions=frozenset({"eu"})), offers),
    ):
        ranked, _ = rank(screening, route, {"eu": CLOSED}, seconds=60, chance=random.Random(1))
        assert ["eu"] == [each.name for each in ranked]
    nobody = screen(question(), route, offers, policy=TenantPolicy(regions=frozenset()))
    assert () == nobody.candidates


@st.composite
def landscapes(draw: st.DrawFn) -> tuple[list[PricedOffer], dict[str, HealthView], dict[str, Pace], dict[str, int]]:
    """Deployments with what is known of them: prices, health, pace, turns."""
    offers, views, paces, owed = [], {}, {}, {}
    for index in range(draw(st.integers(0, 8))):
        name = f"d{index}"
        offers.append(
            offer(name, draw(st.integers(0, 5)), priority=draw(st.integers(0, 2)), weight=draw(st.integers(0, 3)))
        )
        views[name] = draw(
            st.sampled_from([CLOSED, HALF_OPEN, opened(5), replace(CLOSED, hinted=True), replace(CLOSED, in_flight=3)])
        )
        if draw(st.booleans()):
            paces[name] = Pace(draw(st.floats(0, 1000)), draw(st.floats(0, 100)))
        owed[name] = draw(st.integers(-9, 9))
    return offers, views, paces, owed


@given(landscapes(), st.sampled_from(Strategy), st.integers(0, 2**32))
def test_an_order_is_whole_and_the_seed_decides_it(landscape: Any, strategy: Strategy, seed: int) -> None:
    """Everybody is in once or out once, and the same seed on the same figures is the same order."""
    offers, views, paces, owed = landscape
    route = Route(strategy)
    screening = screen(question(), route, offers)
    ranked = [
        rank(screening, route, views, seconds=60, paces=paces, owed=owed, chance=random.Random(seed)) for _ in range(2)
    ]
    assert ranked[0] == ranked[1]
    candidates, exclusions = ranked[0]
    names = [each.name for each in candidates] + [each.deployment for each in exclusions]
    assert sorted(each.name for each in offers) == sorted(names)
    assert {each.deployment for each in exclusions} == {name for name, view in views.items() if view.state is OPEN}


@given(landscapes(), st.integers(0, 2**32))
def test_the_cheapest_never_ranks_a_dearer_one_first(landscape: Any, seed: int) -> None:
    """Whatever is known of speed, turns and chance; only another replica's hint goes before money."""
    offers, views, paces, owed = landscape
    screening = screen(question(), ANYWHERE, offers)
    chance = random.Random(seed)
    candidates, _ = rank(screening, ANYWHERE, views, seconds=60, paces=paces, owed=owed, chance=chance)
    costs = [(views[each.name].hinted, each.terms.price.usd) for each in candidates]
    assert sorted(costs) == costs


@given(landscapes(), st.sampled_from([Strategy.CHEAPEST, Strategy.PRIORITY, Strategy.WEIGHTED]), st.integers(0, 9))
def test_strategies_that_ask_for_no_speed_explore_nobody(landscape: Any, strategy: Strategy, seed: int) -> None:
    """Nobody is asked out of turn where there is nothing to find out."""
    offers, views, paces, owed = landscape
    screening = screen(question(), Route(strategy), offers)
    chance = random.Random(seed)
    candidates, _ = rank(screening, Route(strategy), views, seconds=60, paces=paces, owed=owed, chance=chance)
    assert not any(each.explored for each in candidates)


def test_chance_breaks_ties_evenly() -> None:
    """Of three that differ in nothing but their names each is first about as often; without chance names decide."""
    offers = [offer("a"), offer("b"), offer("c")]
    screening, views, chance = screen(question(), ANYWHERE, offers), dict.fromkeys("abc", CLOSED), random.Random(5)
    firsts = Counter(rank(screening, ANYWHERE, views, seconds=60, chance=chance)[0][0].name for _ in range(3000))
    assert all(900 <= firsts[name] <= 1100 for name in "abc"), firsts
    assert ["a", "b", "c"] == order(offers, ANYWHERE)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_who_is_hinted_at_comes_last_and_stays_in(strategy: Strategy) -> None:
    """Another replica's word puts it behind a dearer, slower one, and no further."""
    offers = [offer("a", 1), offer("b", 9, priority=9, weight=0)]
    views = {"a": replace(CLOSED, hinted=True), "b": CLOSED}
    assert ["b", "a"] == order(offers, Route(strategy), views)


class Always(random.Random):
    """Chance that explores whenever it may."""

    def random(self) -> float:
        """Return the least there is."""
        return 0.0


def explored(paces: dict[str, Pace], views: dict[str, HealthView], strategy: Strategy = Strategy.FASTEST) -> list[str]:
    """Return the order of three at one price but "dear", where chance would explore."""
    offers = [offer("a", 10_000), offer("b", 10_000), offer("dear", 100_000)]
    health = dict.fromkeys(("a", "b", "dear"), CLOSED) | views
    screening, route = screen(question(), ANYWHERE, offers), Route(strategy)
    candidates, _ = rank(screening, route, health, seconds=60, paces=paces, chance=Always())
    assert [] == [each.name for each in candidates[1:] if each.explored]
    return [f"{each.name}{'!' * each.explored}" for each in candidates]


RECENT, SLOW, SLOWER = Pace(0.2, 0.0), Pace(4.0, 2.0), Pace(5.0, 60.0)


def test_who_has_not_been_asked_for_longest_is_explored() -> None:
    """Of two that were slow when last asked, the one whose last call is longer ago is put first."""
    assert ["dear!", "a", "b"] == explored({"a": RECENT, "b": SLOW, "dear": SLOWER}, {})


@pytest.mark.parametrize(
    "views", [{"b": replace(CLOSED, in_flight=1)}, {"b": replace(CLOSED, hinted=True)}, {"b": opened(3)}]
)
def test_who_is_being_asked_or_is_out_is_not_explored(views: dict[str, HealthView]) -> None:
    """One call at a time finds out, and no breaker or hint is passed over for it."""
    for strategy in (Strategy.FASTEST, Strategy.BALANCED):
        assert "a" == explored({"a": RECENT, "b": SLOW, "dear": RECENT}, views, strategy)[0]


def test_who_was_asked_a_moment_ago_is_not_explored() -> None:
    """What its last call took is news enough."""
    assert ["a", "b", "dear"] == explored({"a": RECENT, "b": Pace(4.0, 1.9), "dear": Pace(5.0, 1.9)}, {})


def test_balanced_explores_nobody_who_would_be_too_dear_at_any_speed() -> None:
    """Ten times the money for the same seconds is no question for `balanced`; for `fastest` money is none."""
    paces = {"a": RECENT, "b": RECENT, "dear": SLOWER}
    assert ["a", "b", "dear"] == explored(paces, {}, Strategy.BALANCED)
    assert ["dear!", "a", "b"] == explored(paces, {}, Strategy.FASTEST)


def test_a_drained_one_is_out_by_name() -> None:
    """The caller reads that the operator has taken it out, and that waiting may help."""
    view = replace(opened(60.0, "drained: new cables"), cause=Cause.DRAINED)
    _, exclusions = rank(screen(question(), ANYWHERE, [offer("a")]), ANYWHERE, {"a": view}, seconds=60)
    assert [Exclusion("a", Reason.DRAINED, "drained: new cables", 60.0)] == exclusions
    problem = explained([offer("a")], question(), views={"a": view})
    assert (AllDeploymentsUnavailable, 60.0) == (type(problem), problem.retry_after_seconds)
