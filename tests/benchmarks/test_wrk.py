"""What wrk says is read as it is, and a run with a failed request is no measurement. The outputs are real ones."""

import pytest

from tests.benchmarks.wrk import Load, LoadFailed, parse

SUCCESS = """\
Running 1s test @ http://127.0.0.1:49839/v2/job
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    40.52us   68.96us   2.50ms   99.65%
    Req/Sec   100.23k     4.16k  104.89k    63.64%
  Latency Distribution
     50%   32.00us
     75%   44.00us
     90%   55.00us
     99%   90.00us
  109147 requests in 1.10s, 177.37MB read
Requests/sec:  99263.35
Transfer/sec:    161.31MB
{"requests": 109147, "microseconds": 1099570, "connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0, \
"p50": 32, "p99": 90}
"""

NOT_FOUND = """\
Running 1s test @ http://127.0.0.1:49839/nope
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    68.50us  267.68us   5.44ms   99.03%
    Req/Sec    82.58k     3.46k   87.91k    63.64%
  Latency Distribution
     50%   46.00us
     75%   54.00us
     90%   57.00us
     99%  287.00us
  90172 requests in 1.10s, 26.49MB read
  Non-2xx or 3xx responses: 90172
Requests/sec:  81978.35
Transfer/sec:     24.08MB
{"requests": 90172, "microseconds": 1099949, "connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 90172, \
"p50": 46, "p99": 287}
"""


def test_a_clean_run_is_read() -> None:
    """Requests, seconds and latencies come from the line of figures, the latencies in milliseconds."""
    load = parse(SUCCESS)

    assert Load(requests=109147, seconds=1.09957, p50_ms=0.032, p99_ms=0.09) == load
    assert int(load.per_second) == 99263


def test_an_error_status_spoils_the_run() -> None:
    """Answers of 400 and more make the run no measurement, and are counted in the message."""
    with pytest.raises(LoadFailed, match="status 90172"):
        parse(NOT_FOUND)


@pytest.mark.parametrize("kind", ["connect", "read", "write", "timeout"])
def test_a_socket_error_spoils_the_run(kind: str) -> None:
    """One socket error of any kind makes the run no measurement."""
    with pytest.raises(LoadFailed, match=f"{kind} 1"):
        parse(SUCCESS.replace(f'"{kind}": 0', f'"{kind}": 1'))


def test_a_run_without_answers_is_refused() -> None:
    """No answered request is no measurement."""
    with pytest.raises(LoadFailed, match="not one request"):
        parse(SUCCESS.replace('"requests": 109147', '"requests": 0'))


def test_what_wrk_says_without_figures_is_passed_on() -> None:
    """Output without the line of figures is shown in the message."""
    with pytest.raises(LoadFailed, match="Connection refused"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")
