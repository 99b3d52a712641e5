"""Who may take a lease."""

from __future__ import annotations

import pytest

from edgeferry.domain.anchor import Lease, is_free


@pytest.mark.parametrize(
    ("lease", "free"),
    [
        pytest.param(None, True, id="nobody has it"),
        pytest.param(Lease("other", 101), False, id="another has it"),
        pytest.param(Lease("other", 100), True, id="another had it until now"),
        pytest.param(Lease("me", 101), True, id="it is mine"),
    ],
)
def test_a_lease_is_free(lease: Lease | None, free: bool) -> None:
    assert is_free(lease, "me", 100) is free
