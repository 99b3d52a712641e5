"""A layer that fails its smoke verdict while the hub is away, until its predecessor answers again."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime

from bench.agent.polling import answer_of, poll, settle
from bench.report import Report, quantile
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.domain.smoke import Verdict
from edgeferry.wire.verdict import COMPANION_PORT, render_verdicts
from tests.device.worlds import World, taxi

WINDOW_S = 30
SERVE = "mkdir -p /www; echo {0} > /www/health; exec httpd -f -p {1} -h /www"


def measure_rollback(world: World, report: Report, times: int) -> None:
    """Seconds from a verdict on the device to an answer of what ran before; the hub is away meanwhile."""
    assert world.process is None
    (world.folder / "agent.toml").write_text(f"[trial]\nwindow_s = {WINDOW_S}\n")
    world.start()
    companion = taxi(
        world.images[0],
        SERVE.format("ok", COMPANION_PORT),
        name="companion",
        create_options={"Labels": {"io.edgeferry.kind": "companion"}},
    )
    good = _module(world.images[0], "good", 0)
    settle(world, world.want(good, companion))
    _tell(world, "", 0)
    time.sleep(WINDOW_S + 5)
    took = []
    for number in range(1, times + 1):
        settle(world, world.want(_module(world.images[1], "bad", number)))
        poll(lambda: _said(world) == "bad")
        world.hub.stop()
        _tell(world, world.images[1].partition("@")[2], number)
        began = time.monotonic()
        poll(lambda: _said(world) == "good")
        took.append(time.monotonic() - began)
        world.hub.start()
    what = f"{times} times a failed verdict, the hub away: predecessor answers"
    report.add(f"{what}, median", quantile(took, 0.5), "s")
    report.add(f"{what}, p95", quantile(took, 0.95), "s", goal=10)


def _module(image: str, says: str, number: int) -> ModuleSpec:
    return taxi(image, SERVE.format(says, 8080), env={"NUMBER": str(number)})


def _said(world: World) -> str:
    facts = world.container()
    address = facts.addresses.get(f"edgeferry.{world.sandbox}.{world.device}", "") if facts else ""
    return answer_of(address) if address else ""


def _tell(world: World, digest: str, number: int) -> None:
    """The companion tells a failed verdict on that image; none without a digest."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    verdict = Verdict("taxi", "Failed", digest, "1", "", f"n{number}", "wrong answers", 1, 1, 1.0, 1.0, at)
    said = json.dumps(render_verdicts([verdict] if digest else []))
    script = f"cat > /www/new <<'END'\n{said}\nEND\nmv /www/new /www/verdict"
    container = world.container("companion")
    assert container is not None
    program = ["docker", "-H", world.engine.url, "exec", container.id, "/bin/busybox", "sh", "-c", script]
    subprocess.run(program, check=True)
