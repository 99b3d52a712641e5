import pytest

from edgeferry.domain.bucket import rollout_bucket
from edgeferry.domain.enrolment import missing_tags, new_tags

BUCKET = rollout_bucket("press-1")
OURS = {"edgeferry": True, "rollout_bucket": BUCKET, "device_class": "small"}


def test_a_new_device_has_the_fleets_tags_and_those_asked_for():
    tags = new_tags("press-1", "small", {"site": "berlin", "rollout_bucket": 7})
    assert tags == {**OURS, "site": "berlin", "rollout_bucket": 7}


@pytest.mark.parametrize(
    ("has", "asked", "patch"),
    [
        pytest.param({}, {}, OURS, id="nothing there"),
        pytest.param({**OURS, "site": "x"}, {}, {}, id="all there"),
        pytest.param(
            {"edgeferry": True, "rollout_bucket": 3, "device_class": "large"}, {}, {}, id="others' stay"
        ),
        pytest.param(OURS, {"device_class": "large"}, {"device_class": "large"}, id="what is asked, counts"),
        pytest.param({"site": "x"}, {"site": "y"}, {**OURS, "site": "y"}, id="both"),
    ],
)
def test_only_what_is_missing_is_added(has, asked, patch):
    assert missing_tags("press-1", "small", has, asked) == patch
