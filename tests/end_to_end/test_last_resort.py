"""The local model without weights is nobody's silent failover, and says what it is."""

from typing import Any

from tests.end_to_end.asking import Caller, on
from tests.end_to_end.upstreams import Upstreams


def boxed(upstreams: Upstreams, **wishes: Any) -> dict[str, Any]:
    """Return a request for what is in a box."""
    scene = upstreams.scene("shoes")
    prompt = {"kind": "object", "box": scene.named("carton")[0].box}
    return {"image": {"url": scene.url}, "prompts": [prompt], "route": wishes}


async def test_a_region_that_is_down_is_not_replaced_by_it(caller: Caller, upstreams: Upstreams) -> None:
    """A box meant for SAM fails when SAM does, and says how the local model would be asked."""
    for region in ("runflow-eu", "runflow-us"):
        upstreams.strike(region, {"kind": "status", "status": 500})
    reply = await caller.segment(boxed(upstreams), status=None)
    assert reply.status in {502, 503}
    assert {"runflow-eu", "runflow-us"} == {deployment for deployment, _ in reply.attempts}
    [quoted] = (await caller.quote(boxed(upstreams))).body["questions"]
    spared = {each["deployment"]: each for each in quoted["excluded"]}["local-classic"]
    assert ("last_resort", True) == (spared["reason"], "route.deployments" in spared["detail"])


async def test_it_warns_whenever_it_answers(caller: Caller, upstreams: Upstreams) -> None:
    """Asked by name, asked since nobody else takes the prompt, and from the cache, its answers say what they are."""
    everything = {**boxed(upstreams), "prompts": [{"kind": "automatic"}]}
    for body, cache in ((boxed(upstreams, **on("local-classic")), "miss"), (everything, "miss"), (everything, "hit")):
        reply = await caller.segment(body)
        [answer] = reply.body["answers"]
        assert ("local-classic", cache) == (answer["deployment"], answer["cache"])
        assert any("without learned weights" in warning for warning in answer["warnings"])


async def test_its_kept_answer_is_for_those_who_name_it(caller: Caller, upstreams: Upstreams) -> None:
    """Whoever asks the same without its name is answered by SAM, and finds that answer the next time."""
    await caller.segment(boxed(upstreams, **on("local-classic")))
    for cache in ("miss", "hit"):
        [answer] = (await caller.segment(boxed(upstreams))).body["answers"]
        assert (True, cache, []) == (answer["deployment"].startswith("runflow"), answer["cache"], answer["warnings"])
    [again] = (await caller.segment(boxed(upstreams, **on("local-classic")))).body["answers"]
    assert ("local-classic", "hit") == (again["deployment"], again["cache"])
