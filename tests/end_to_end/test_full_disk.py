"""A disk that is full: nothing is spent that cannot be recorded, and it is said what is missing."""

import base64
from pathlib import Path

import aiohttp

from tests.end_to_end.household import gateway_process
from tests.end_to_end.ledger import assert_books_agree
from tests.end_to_end.upstreams import NAMES, Upstreams

#: Kilobytes that a file may have: the ledger is full after some twenty calls, and so is the log.
MOST_KILOBYTES = 1024
MOST_CALLS = 400


async def test_what_cannot_be_recorded_is_not_bought(upstreams: Upstreams, tmp_path: Path) -> None:
    """Once the ledger cannot grow, calls are 503 before money and `/readyz` names the disk; the books agree."""
    picture = base64.b64encode(upstreams.picture("shoes")).decode()
    asked = {
        "image": {"data": picture},
        "prompt": "left shoe",
        "cache": {"mode": "skip"},
        "route": {"deployments": list(NAMES)},
    }
    good, ended = 0, (0, "")
    with gateway_process(upstreams.sandbox, tmp_path / "house", ulimit=f"-f {MOST_KILOBYTES}") as running:
        url = running.house.url
        async with aiohttp.ClientSession() as session:
            for _ in range(MOST_CALLS):
                async with session.post(url + "/v1/segmentations", json=asked) as answer:
                    if answer.status != 200:
                        ended = answer.status, (await answer.json())["code"]
                        break
                    good += 1
            assert (503, "ledger_unavailable") == ended
            async with session.get(url + "/readyz") as answer:
                said = await answer.json()
            assert (503, "disk") == (answer.status, *said["shortages"])
            async with session.get(url + "/v1/deployments") as answer:
                listed = (await answer.json())["deployments"]
            assert {"closed"} == {each["health"]["state"] for each in listed if each["name"] in NAMES}
    books = upstreams.books()
    assert 0 < good == len(books)
    assert_books_agree(running.house.ledger(), books)
