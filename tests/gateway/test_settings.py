"""A wrong configuration cannot start, and says where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import (
    MOST_PIXELS,
    ConfigProblem,
    FetchSettings,
    Settings,
    SettingsError,
    load_settings,
    settings_from_yaml,
)
from providers.contract import PriceUnit

GOOD = """\
deployments:
  - name: runflow-eu
    provider: runflow
    model: meta/sam-3/image
    region: eu
    endpoint: https://eu.example.com
    credential: ${RUNFLOW_API_KEY}
    priority: 2
    price:
      usd: "0.005"
      unit: success
      valid_from: 2026-11-01
      source: https://example.com/pricing
    options: {poll_seconds: 0.5, upload: true, retries: 3, note: "${NOTE} and ${NOTE}"}
  - {name: local, provider: local, model: classic}
fetch:
  allow: ["10.0.0.7:8080", "[fd00::7]:8080"]
  max_bytes: ${MAX_BYTES}
cache: {ttl_seconds: 60}
access:
  keyless_on_loopback: false
limits:
  max_in_flight: 10
"""
ENVIRON = {"RUNFLOW_API_KEY": "rf-secret", "NOTE": "n", "MAX_BYTES": "4096"}

#: A deployment on lines 1 to 5; the price is on line 5, from column 3 on.
PRICED = """\
deployments:
- name: a
  provider: local
  model: classic
  price: {usd: %s, valid_from: %s, source: the test}
"""


def problems_of(text: str, environ: Mapping[str, str] | None = None) -> list[ConfigProblem]:
    """Return what is wrong in a configuration."""
    with pytest.raises(SettingsError) as refused:
        settings_from_yaml(text, environ=environ or {}, source="maskgate.yaml")
    assert "\n".join(f"maskgate.yaml: {problem}" for problem in refused.value.problems) == str(refused.value)
    return refused.value.problems


def test_a_whole_file_is_read() -> None:
    """Every part arrives in its typed form, with the environment's values where they were named."""
    settings = settings_from_yaml(GOOD, environ=ENVIRON)
    runflow, local = settings.deployments or ()
    assert ("runflow-eu", "runflow", "meta/sam-3/image", "eu", 2) == (
        runflow.name,
        runflow.provider,
        runflow.model,
        runflow.region,
        runflow.priority,
    )
    assert ("https://eu.example.com", "rf-secret") == (runflow.endpoint, runflow.credential)
    assert {"poll_seconds": 0.5, "upload": True, "retries": 3, "note": "n and n"} == runflow.options
    assert ["float", "bool", "int", "str"] == [type(value).__name__ for value in runflow.options.values()]
    assert runflow.price is not None
    assert ("0.005", PriceUnit.SUCCESS, "2026-11-01") == (
        runflow.price.usd,
        runflow.price.unit,
        runflow.price.valid_from,
    )
    assert ("global", "", 1, None) == (local.region, local.endpoint, local.priority, local.price)
    assert (("10.0.0.7:8080", "[fd00::7]:8080"), 4096) == (settings.fetch.allow, settings.fetch.max_bytes)
    assert (60, False, 10) == (
        settings.cache.ttl_seconds,
        settings.access.keyless_on_loopback,
        settings.limits.max_in_flight,
    )


def test_secrets_do_not_show() -> None:
    """A printed configuration holds no credential, no database password and nothing of the environment."""
    environ = ENVIRON | {
        "MASKGATE_DATABASE_URL": "postgresql://u:pw-secret@h/d",
        "MASKGATE_REDIS_URL": "redis://:pw-secret@h",
    }
    shown = repr(settings_from_yaml(GOOD, environ=environ)) + repr(
        load_settings(config=None, environ={"K": "k-secret"})
    )
    assert "secret" not in shown


def test_without_a_file_the_embedded_defaults_hold() -> None:
    """An SQLite file under .maskgate, loopback, keyless, and the providers' own deployments for this environment."""
    settings = load_settings(config=None, environ={"PRODIA_TOKEN": "t"})
    assert Settings(environ={"PRODIA_TOKEN": "t"}) == settings
    assert ("sqlite:///.maskgate/maskgate.db", "127.0.0.1", None) == (
        settings.ledger_url,
        settings.host,
        settings.deployments,
    )
    assert (True, 120_000_000, 32 * 2**20) == (
        settings.access.keyless_on_loopback,
        settings.limits.max_pixels,
        settings.fetch.max_bytes,
    )


@pytest.mark.parametrize(
    ("environ", "ledger_url", "redis_url"),
    [
        ({"MASKGATE_STATE_DIR": "/var/lib/maskgate"}, "sqlite:////var/lib/maskgate/maskgate.db", ""),
        ({"MASKGATE_STATE_DIR": "", "MASKGATE_DATABASE_URL": ""}, "sqlite:///.maskgate/maskgate.db", ""),
        ({"MASKGATE_DATABASE_URL": "postgresql://u@h/d", "MASKGATE_STATE_DIR": "x"}, "postgresql://u@h/d", ""),
        ({"MASKGATE_REDIS_URL": "redis://h"}, "sqlite:///.maskgate/maskgate.db", "redis://h"),
    ],
)
def test_the_environment_says_where_state_is_kept(environ: dict[str, str], ledger_url: str, redis_url: str) -> None:
    """With a configuration file and without one."""
    for settings in (load_settings(config=None, environ=environ), settings_from_yaml("", environ=environ)):
        assert (ledger_url, redis_url) == (settings.ledger_url, settings.redis_url)


def test_a_file_that_lists_deployments_keeps_the_environment_s_out() -> None:
    """A key that happens to be set adds no deployment to those that were written down."""
    assert {} == settings_from_yaml(GOOD, environ=ENVIRON).environ
    assert {"PRODIA_TOKEN": "t"} == settings_from_yaml("cache: {}", environ={"PRODIA_TOKEN": "t"}).environ
    assert () == settings_from_yaml("deployments: []", environ={}).deployments


def test_the_file_on_the_command_line_goes_before_the_environment_s(tmp_path: Path) -> None:
    """`--config`, else `MASKGATE_CONFIG`, else none."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("limits: {max_in_flight: 1}")
    two.write_text("\ufefflimits: {max_in_flight: 2}", encoding="utf-8")
    environ = {"MASKGATE_CONFIG": str(two)}
    assert 1 == load_settings(config=one, environ=environ).limits.max_in_flight
    assert 2 == load_settings(config=None, environ=environ).limits.max_in_flight
    assert 4096 == load_settings(config=None, environ={"MASKGATE_CONFIG": ""}).limits.max_in_flight


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a folder, and bytes that are no UTF-8."""
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", ".", "bytes.yaml"):
        with pytest.raises(SettingsError, match=r"cannot be read: ") as refused:
            load_settings(config=tmp_path / name, environ={})
        assert str(refused.value).startswith(str(tmp_path / name))


NOT_YAML: list[tuple[str, int | None, int | None, str]] = [
    ("a:\n\tb: 1", 2, 1, "cannot start any token"),
    ("a: [1, 2\nb: 3", 2, 2, "expected ',' or ']'"),
    ('a: "b', 1, 6, "unexpected end of stream"),
    ("fetch: {}\nlimits: {}\nfetch: {}", 3, 1, "the key 'fetch' stands here twice"),
    ("deployments:\n- name: a\n  model: m\n  name: b", 4, 3, "the key 'name' stands here twice"),
    ("a: 1\n---\nb: 1", 2, 1, "another document"),
    ("a: *b", 1, 4, "undefined alias"),
    ("a: !!python/object/apply:os.system [id]", 1, 4, "could not determine a constructor"),
    ("? [a]\n: 1", 1, 3, "unhashable key"),
    ("a: \0", None, None, "special characters are not allowed"),
    ("a: !!int x", None, None, "invalid literal"),
    ("deployments: &a\n- *a", None, None, "recursion"),
    ("[" * 1500, None, None, "recursion"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), NOT_YAML)
def test_what_is_not_yaml_is_refused_at_its_place(text: str, line: int | None, column: int | None, words: str) -> None:
    """The place is where the reader stopped, where it knows; a key that stands twice would hide the first one."""
    (problem,) = problems_of(text)
    assert (line, column, "") == (problem.line, problem.column, problem.path)
    assert problem.message.startswith("not YAML: ")
    assert words in problem.message


STAND_IN = "{{allow: ['127.0.0.1:9100', '10.0.0.7:80'], instead: {{'https://a.example/p.png': '{}'}}}}"
SANDBOX_FETCH = "fetch: " + STAND_IN.format("http://127.0.0.1:9100/p.png")
NEAR = "deployments: [{name: a, provider: p, model: m, endpoint: 'http://127.0.0.1:9101', sandbox: true}]\n"
FAR = "deployments: [{name: a, provider: p, model: m, endpoint: 'http://127.0.0.1:9101'}]\n"

FAULTS: list[tuple[str, int, int, str, str]] = [
    (SANDBOX_FETCH, 1, 60, "fetch.instead", "is for sandboxes: list the sandbox's deployments"),
    (FAR + SANDBOX_FETCH, 2, 60, "fetch.instead", "is for sandboxes: deployment 'a' is not marked so"),
    *(
        (
            NEAR + "fetch: " + STAND_IN.format(there),
            2,
            88,
            "fetch.instead.https://a.example/p.png",
            "is no loopback address that pictures may come from",
        )
        for there in (
            "http://10.0.0.7:80/p.png",
            "http://127.0.0.1:9101/p.png",
            "https://127.0.0.1:9100/p.png",
            "http://localhost:9100/p.png",
            "http://127.0.0.1:9100@a.example/p.png",
            "file:///etc/passwd",
            "",
        )
    ),
    ("limts: {}", 1, 8, "limts", "unknown field; is it misspelt?"),
    ("fetch:\n  alow: []", 2, 9, "fetch.alow", "unknown field"),
    ("redis_url: redis://h", 1, 12, "redis_url", "unknown field"),
    ("host: 0.0.0.0", 1, 7, "host", "unknown field"),
    ("- a", 1, 1, "", "dictionary"),
    ("hello", 1, 1, "", "dictionary"),
    ("cache:", 1, 7, "cache", "dictionary"),
    ("1: 2", 1, 4, "[1]", "strings"),
    ("deployments:\n- {provider: p, model: m}", 2, 3, "deployments[0].name", "missing, and required"),
    ("deployments:\n- {name: A b, provider: p, model: m}", 2, 10, "deployments[0].name", "pattern"),
    ("deployments:\n- {name: a, provider: p, model: m, regoin: eu}", 2, 44, "deployments[0].regoin", "unknown field"),
    (
        "deployments:\n- {name: a, provider: p, model: m}\n- {name: a, provider: q, model: n}",
        2,
        1,
        "deployments",
        "two deployments are named 'a'",
    ),
    (PRICED % ("0.005", "2026-11-01"), 5, 16, "deployments[0].price.usd", 'as text, so that it stays exact: "0.005"'),
    (PRICED % ("5", "2026-11-01"), 5, 16, "deployments[0].price.usd", 'so that it stays exact: "5"'),
    (PRICED % ('"five"', "2026-11-01"), 5, 16, "deployments[0].price.usd", "not a decimal number of dollars: 'five'"),
    (PRICED % ('"-1"', "2026-11-01"), 5, 16, "deployments[0].price.usd", "a price below zero"),
    (PRICED % ('"0.0000001"', "2026-11-01"), 5, 16, "deployments[0].price.usd", "finer than a micro-dollar"),
    (PRICED % ('"1e999999999"', "2026-11-01"), 5, 16, "deployments[0].price.usd", "too large an amount"),
    (PRICED % ('"1"', "2026-02-30"), 5, 33, "deployments[0].price.valid_from", "there is no day 2026-02-30"),
    (PRICED % ('"1"', '"2026-13-01"'), 5, 33, "deployments[0].price.valid_from", "there is no day 2026-13-01"),
    (PRICED % ('"1"', "November"), 5, 33, "deployments[0].price.valid_from", "neither a day, as 2026-01-31, nor a"),
    (PRICED % ('"1"', "2026-11-01T00:00:00"), 5, 33, "deployments[0].price.valid_from", "a moment with its offset"),
    (PRICED % ('"1"', "2026-11-01T24:00Z"), 5, 33, "deployments[0].price.valid_from", "there is no moment 2026-11-01T"),
    ("limits: {max_in_flight: 0}", 1, 25, "limits.max_in_flight", "greater than or equal to 1"),
    (f"limits: {{max_pixels: {MOST_PIXELS + 1}}}", 1, 22, "limits.max_pixels", f"equal to {MOST_PIXELS}"),
    ("limits: {worker_threads: many}", 1, 26, "limits.worker_threads", "valid integer"),
    ("cache: {ttl_seconds: .nan}", 1, 22, "cache.ttl_seconds", "greater than 0"),
    ("fetch: {seconds: .inf}", 1, 18, "fetch.seconds", "less than or equal to 300"),
]


@pytest.mark.parametrize(("text", "line", "column", "path", "words"), FAULTS)
def test_a_fault_is_told_with_its_line_column_and_path(
    text: str, line: int, column: int, path: str, words: str
) -> None:
    """The place is that of the value, or of the deepest part of the file that is there."""
    (problem,) = problems_of(text)
    assert (line, column, path) == (problem.line, problem.column, problem.path)
    assert words in problem.message
    assert str(problem).startswith(f"line {line}, column {column}: ")


def test_every_fault_is_told_at_once() -> None:
    """Whoever corrects a file corrects all of it."""
    text = "cache: {ttl_seconds: 0}\nlimits:\n  max_pixels: 3\n  max: 1\naccess:\n  keyless_on_loopback: ${NO_SUCH}\n"
    places = [(problem.line, problem.path) for problem in problems_of(text)]
    assert {
        (1, "cache.ttl_seconds"),
        (3, "limits.max_pixels"),
        (4, "limits.max"),
        (6, "access.keyless_on_loopback"),
    } == set(places)


def test_a_name_that_the_environment_lacks_is_told_with_its_place() -> None:
    """A gateway does not start with an empty credential because a variable was forgotten."""
    (problem,) = problems_of(GOOD, {"NOTE": "n", "MAX_BYTES": "4096"})
    assert (7, 17, "deployments[0].credential") == (problem.line, problem.column, problem.path)
    assert problem.message == "the environment has no RUNFLOW_API_KEY; set it, or write the value here"


def test_a_name_that_is_set_and_empty_is_there() -> None:
    """An empty value is a value."""
    settings = settings_from_yaml(GOOD, environ=ENVIRON | {"RUNFLOW_API_KEY": ""})
    assert "" == (settings.deployments or ())[0].credential


@pytest.mark.parametrize("text", ["$NAME", "${}", "${1A}", "$ {NAME}", "${NAME", "{NAME}", "${NA-ME}"])
def test_what_only_looks_like_a_reference_is_left_alone(text: str) -> None:
    """Only `${NAME}` is one."""
    yaml = f"deployments:\n- {{name: a, provider: p, model: m, credential: '{text}'}}"
    assert text == (settings_from_yaml(yaml, environ={"NAME": "x"}).deployments or ())[0].credential


def test_a_value_from_the_environment_is_not_read_again() -> None:
    """What a variable holds is text: neither YAML nor another reference."""
    environ = ENVIRON | {"NOTE": "${RUNFLOW_API_KEY}: [1]"}
    options = (settings_from_yaml(GOOD, environ=environ).deployments or ())[0].options
    assert "${RUNFLOW_API_KEY}: [1] and ${RUNFLOW_API_KEY}: [1]" == options["note"]


@pytest.mark.parametrize("entry", ["127.0.0.1:1", "10.0.0.7:65535", "[::1]:8080", "[fd00::7]:80"])
def test_an_address_is_an_ip_and_a_port(entry: str) -> None:
    """IPv6 stands in brackets."""
    assert (entry,) == FetchSettings(allow=(entry,)).allow


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "localhost:80",
        "example.com:443",
        "10.0.0.7",
        "10.0.0.0/8:80",
        "10.0.0.7:",
        "10.0.0.7:0",
        "10.0.0.7:65536",
        "10.0.0.7:99999",
        "10.0.0.7:http",
        "10.0.0.7:+80",
        "10.0.0.7:٨٠",
        "10.0.0.7:80\n",
        " 10.0.0.7:80",
        "999.0.0.1:80",
        "....:1",
        "10.0.0.07:80",
        "[10.0.0.7]:80",
        "::1:80",
        "[::1:80",
        "[:::]:80",
        "http://10.0.0.7:80",
        "*:80",
    ],
)
def test_what_is_no_address_is_refused_with_two_that_are(entry: str) -> None:
    """A name could lead elsewhere tomorrow; a network is more than was meant."""
    with pytest.raises(ValueError, match=r"is no address; write ip:port, as 10\.0\.0\.7:8080 or \[fd00::7\]:8080"):
        FetchSettings(allow=("127.0.0.1:1", entry))


@given(
    st.text(st.characters(codec="utf-8"), max_size=60)
    | st.sampled_from([GOOD, PRICED]).flatmap(lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut]))
)
def test_no_text_raises_anything_but_its_problems(text: str) -> None:
    """Whatever stands in the file, it is read or refused with what is wrong."""
    try:
        settings = settings_from_yaml(text, environ=ENVIRON)
    except SettingsError as error:
        assert error.problems  # noqa: PT017 - read or refused, both are right
    else:
        assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    "url", ["", "https://maskgate.example", "http://10.0.0.7:8080/gate/way", "http://[fd00::7]:80"]
)
def test_public_address(url: str) -> None:
    """The address for callbacks comes from the file, and the environment's word goes before it."""
    text = f'public_url: "{url}"'
    assert url == settings_from_yaml(text, environ={}).public_url
    other = {"MASKGATE_PUBLIC_URL": "https://other.example"}
    assert "https://other.example" == settings_from_yaml(text, environ=other).public_url
    assert url == settings_from_yaml(text, environ={"MASKGATE_PUBLIC_URL": ""}).public_url


@pytest.mark.parametrize(
    "url",
    ["maskgate.example", "https://maskgate.example/", "https://a@b.example", "https://a.example?x=1", "ftp://a.b"],
)
def test_no_public_address(url: str) -> None:
    """What no path can be appended to is refused, wherever it was written."""
    with pytest.raises(SettingsError, match="public_url: write it as https"):
        settings_from_yaml(f'public_url: "{url}"', environ={})
    with pytest.raises(SettingsError, match="MASKGATE_PUBLIC_URL: write it as https"):
        settings_from_yaml("{}", environ={"MASKGATE_PUBLIC_URL": url})


def test_callback_secrets_come_from_the_environment() -> None:
    """Secrets are named as every credential is, and are not shown."""
    text = """
deployments:
  - {name: r, provider: runflow, model: m, callback_secrets: ["${NEW}", whsec_old_0123456789]}
"""
    settings = settings_from_yaml(text, environ={"NEW": "whsec_new_0123456789"})
    assert settings.deployments is not None
    assert ("whsec_new_0123456789", "whsec_old_0123456789") == settings.deployments[0].callback_secrets
    assert "whsec" not in repr(settings)
    with pytest.raises(SettingsError, match="callback_secrets"):
        settings_from_yaml(text, environ={"NEW": ""})


@pytest.mark.parametrize("field", ["every_seconds: 0", "first_seconds: -1", "absent_seconds: -1", "soon: 1"])
def test_bad_cadence(field: str) -> None:
    """A time that cannot be, and a field that is not known, are refused by name."""
    with pytest.raises(SettingsError, match=f"reconcile.{field.partition(':')[0]}"):
        settings_from_yaml(f"reconcile: {{{field}}}", environ={})
