from collections import Counter

import pytest

from edgeferry.domain.bucket import BUCKETS, rollout_bucket


@pytest.mark.parametrize(
    ("device", "bucket"), [("press-1", 9264), ("press-2", 1272), ("Ofen 7", 2415), ("ä", 7240)]
)
def test_a_device_stays_in_its_bucket_for_ever(device, bucket):
    assert rollout_bucket(device) == bucket


@pytest.mark.parametrize(
    "pattern",
    ["press-{}", "{}", "berlin-hall-{:05}-edge", "{0:x}{0:x}", "DEVICE_{}.local"],
    ids=["numbered", "numbers alone", "padded", "hexadecimal", "with a tail"],
)
def test_buckets_are_spread_evenly_over_any_names(pattern):
    count, parts = 20_000, 100
    found = Counter(rollout_bucket(pattern.format(n)) * parts // BUCKETS for n in range(count))
    expected = count / parts
    chi_squared = sum((found[part] - expected) ** 2 / expected for part in range(parts))
    assert set(found) == set(range(parts))
    assert chi_squared < 160, chi_squared  # 99 degrees of freedom: 1 in 10,000 is beyond 160
