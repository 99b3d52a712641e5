"""The smoke test can fail: images that are broken in one way each, asked by the companion's own code."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeferry.device.modules import asking
from tests.device.broken.nursery import open_nursery
from tests.device.broken.variants import GOOD, MISSED, VARIANTS, start

GOOD_RUNS = 5


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """The verdict on each variant, by its name; nobody waits long for servers that do not come back."""
    folder = tmp_path_factory.mktemp("variants")
    with pytest.MonkeyPatch.context() as patch, open_nursery() as nursery, ThreadPoolExecutor(4) as pool:
        patch.setattr(asking, "RETURN_S", 0.5)
        patch.setattr(asking, "BUSY_S", 0.5)
        patch.setattr(asking, "PAUSE_S", 0.05)
        patch.setattr(asking, "WARM_UP", 2)

        def ask(number, variant):
            place = folder / str(number)
            place.mkdir()
            process, request = start(nursery, variant, place)
            patience_s = 30.0 if variant in GOOD else 2.0
            times = GOOD_RUNS if variant in GOOD else 1
            try:
                return [
                    asking.ask(request, patience_s=patience_s, stopping=threading.Event())
                    for _ in range(times)
                ]
            finally:
                nursery.stop(process)

        every = (*GOOD, *VARIANTS)
        return dict(
            zip((variant.name for variant in every), pool.map(ask, range(len(every)), every), strict=True)
        )


@pytest.mark.parametrize("variant", [pytest.param(variant, id=variant.name) for variant in VARIANTS])
def test_a_broken_image_does_not_pass(verdicts, variant):
    """Not passing is what keeps a release from the fleet; those that nothing can tell are known by name."""
    (verdict,) = verdicts[variant.name]
    assert (verdict.state == "Passed") == (variant.name in MISSED), verdict.reason


@pytest.mark.parametrize("variant", [pytest.param(variant, id=variant.name) for variant in GOOD])
def test_a_good_image_passes_each_time(verdicts, variant):
    assert [verdict.state for verdict in verdicts[variant.name]] == ["Passed"] * GOOD_RUNS


def test_of_thirty_broken_images_at_most_one_passes(verdicts):
    passed = [variant.name for variant in VARIANTS if verdicts[variant.name][0].state == "Passed"]
    assert len(passed) * 30 <= len(VARIANTS), passed
