import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.device_state import (
    Applied,
    Crashed,
    DeviceState,
    Doing,
    Failed,
    Found,
    Left,
    Proved,
    Retried,
    advance,
)
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.wire.device_journal import parse_event, parse_state, render_event, render_state, unit_hash

TEXTS = st.text(max_size=5)
HASHES = st.sampled_from(["h1", "h2", "h3"])
NAMES = st.sampled_from(["a", "b", "c"])
MODULES = st.dictionaries(NAMES, st.tuples(st.sampled_from(["x:1", "y:2"]), st.sampled_from(["", "L"]))).map(
    lambda said: {
        name: ModuleSpec(name, image, {"Cmd": ["x"]}, {"A": "1"}, layer=layer)
        for name, (image, layer) in said.items()
    }
)
SEVERAL = st.lists(NAMES, max_size=2).map(tuple)
EVENTS = st.one_of(
    st.builds(Applied, HASHES, SEVERAL, st.integers(0), MODULES, SEVERAL, TEXTS, SEVERAL),
    st.builds(Crashed, HASHES, NAMES, TEXTS),
    st.builds(Proved, HASHES, MODULES, SEVERAL, TEXTS),
    st.builds(Failed, HASHES, TEXTS, TEXTS, st.booleans()),
    st.builds(Left, HASHES, TEXTS),
    st.builds(Retried, NAMES),
    st.builds(Found, MODULES),
    st.builds(Doing, TEXTS, NAMES, TEXTS),
)


@given(EVENTS)
def test_every_event_comes_back_from_the_journal(event):
    assert parse_event(json.loads(json.dumps(render_event(event)))) == event


@given(st.lists(EVENTS, max_size=12))
def test_every_state_comes_back_from_disk(events):
    state = DeviceState()
    for event in events:
        state = advance(state, event)
    assert parse_state(json.loads(json.dumps(render_state(state)))) == state


@pytest.mark.parametrize("said", [{}, {"event": "Unknown", "modules": {}}, {"event": "Crashed"}])
def test_what_is_no_event_is_refused(said):
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_event(said)


def test_the_hash_is_of_the_specs_and_not_of_the_layer():
    spec = ModuleSpec("a", "x:1", layer="L")
    assert unit_hash({"a": spec}) == unit_hash({"a": ModuleSpec("a", "x:1", layer="M")})
    assert unit_hash({"a": spec}) != unit_hash({"a": ModuleSpec("a", "x:2", layer="L")})
