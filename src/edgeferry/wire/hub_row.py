"""A twin's row in a query's answer, put together from the texts in which its parts are stored: fleets are
read by the ten thousand, and most of what that takes is JSON that was JSON before."""

from __future__ import annotations

from dataclasses import dataclass

from edgeferry.wire.hub import Identity, Presence, render_json, render_twin


@dataclass(frozen=True)
class StoredSection:
    """Desired or reported properties; JSON objects as compact texts."""

    values: str
    metadata: str
    version: int

    def render(self) -> str:
        """As `domain.twin.render_section` has it."""
        comma = "" if self.values == "{}" else ","
        return f'{self.values[:-1]}{comma}"$metadata":{self.metadata},"$version":{self.version}}}'


@dataclass(frozen=True)
class StoredTwin:
    """An identity and its twin."""

    identity: Identity
    """With tags and properties empty, whatever they are."""
    tags: str
    desired: StoredSection
    reported: StoredSection


def render_row(stored: StoredTwin, presence: Presence) -> bytes:
    """`Twin` of the REST API, as `render_twin` has it, as JSON."""
    document = render_twin(stored.identity, presence)
    del document["tags"], document["properties"]
    head = render_json(document)[:-1]
    properties = f'"desired":{stored.desired.render()},"reported":{stored.reported.render()}'
    return head + f',"tags":{stored.tags},"properties":{{{properties}}}}}'.encode()
