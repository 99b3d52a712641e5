import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.twin import Section, Twin
from edgeferry.wire.hub import Identity, Presence, parse_json, render_json, render_twin
from edgeferry.wire.hub_row import StoredSection, StoredTwin, render_row

_NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="$. "), min_size=1)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
_OBJECTS = st.dictionaries(_NAMES, _SCALARS | st.dictionaries(_NAMES, _SCALARS, max_size=2), max_size=3)
_SECTIONS = st.builds(Section, _OBJECTS, _OBJECTS, st.integers(1, 2**31))


def _store(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _store_section(section: Section) -> StoredSection:
    return StoredSection(_store(section.values), _store(section.metadata), section.version)


def _identity(module: str | None, twin: Twin) -> Identity:
    return Identity(
        device="d1",
        module=module,
        generation="1",
        created_at="2024-01-01T00:00:00Z",
        primary_key="k",
        secondary_key="k",
        twin=twin,
        deployments={"base": "Applied"},
    )


@given(
    module=st.none() | st.just("$edgeAgent"),
    twin=st.builds(Twin, _SECTIONS, _SECTIONS, _OBJECTS, st.integers(1, 2**31)),
    connected=st.booleans(),
)
def test_a_row_made_of_stored_texts_is_the_twin(module: str | None, twin: Twin, connected: bool) -> None:
    empty = Section({}, {}, 0)
    stored = StoredTwin(
        _identity(module, Twin(empty, empty, version=twin.version)),
        _store(twin.tags),
        _store_section(twin.desired),
        _store_section(twin.reported),
    )
    presence = Presence(connected)
    expected = render_twin(_identity(module, twin), presence)
    assert parse_json(render_row(stored, presence)) == parse_json(render_json(expected))
