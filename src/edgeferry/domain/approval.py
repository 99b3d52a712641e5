"""Whose word an approval is: a person's own signature, or a platform's record of a person. Pure.

A pipeline has a key but no judgement. What it signs as `ci` (or `ci-…`) is an approval only where it copies
what a platform recorded of a person, with the platform named as the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.release import Entry

_PIPELINE = re.compile(r"ci(-.*)?", re.IGNORECASE)  # some file systems take CI.pem for ci.pem
AZURE_DEVOPS = "azure-devops"
GITHUB = "github"
_PLATFORMS = {AZURE_DEVOPS: "Azure DevOps", GITHUB: "GitHub"}


@dataclass(frozen=True)
class Word:
    """One approval check as the platform recorded it."""

    id: str
    status: str
    """`approved`, `pending`, `rejected`, …"""
    approvers: tuple[str, ...]
    """Who said yes, by the name they sign in with."""
    at: str
    """When the last of them did; ISO 8601."""


@dataclass(frozen=True)
class Record:
    """What a platform recorded about one stage of one run: its approval checks."""

    platform: str
    url: str
    """The run, for a person to look at."""
    stage: str
    """At GitHub, the environment."""
    words: tuple[Word, ...]

    @property
    def place(self) -> str:
        """What was to be approved, in the platform's words."""
        return f"{'environment' if self.platform == GITHUB else 'stage'} {self.stage}"

    @property
    def remedy(self) -> str:
        """How people come to be asked."""
        if self.platform == GITHUB:
            return f"give {self.place} required reviewers, and let one of them approve a new run"
        return f"put an approval check on the environment of {self.place}, and let a person approve"


def is_pipeline(author: str) -> bool:
    """Whether `author` signs for a pipeline and not for a person."""
    return _PIPELINE.fullmatch(author) is not None


def judge_record(record: Record) -> str:
    """Why the record is no approval, or "": every check of the stage must be approved, by somebody."""
    if not record.words:
        return f"{record.place} has no approval check, so no person was asked"
    for word in record.words:
        if word.status != "approved":
            return f"approval {word.id} of {record.place} is {word.status or 'unknown'}"
        if not word.approvers:
            return f"approval {word.id} of {record.place} names nobody who approved"
    return ""


def render_source(record: Record) -> dict[str, Any]:
    """The record as the `source` of an approval entry."""
    return {
        "kind": record.platform,
        "url": record.url,
        "stage": record.stage,
        "approvals": [word.id for word in record.words],
        "approvers": sorted({name for word in record.words for name in word.approvers}),
        "at": max((word.at for word in record.words), default=""),
    }


def find_people(approval: Entry) -> tuple[str, ...]:
    """Whose word the entry is: its author, or, where a pipeline signed, those whom its source names."""
    if not is_pipeline(approval.author):
        return (approval.author,)
    source = approval.body.get("source")
    if not isinstance(source, Mapping) or source.get("kind") not in _PLATFORMS:
        return ()
    names = source.get("approvers")
    if not isinstance(names, Sequence) or isinstance(names, str):
        return ()
    return tuple(str(name) for name in names if name and not is_pipeline(str(name)))


def find_given(approval: Entry) -> str:
    """When the word was given, ISO 8601: where a pipeline signed, when the platform recorded it, which may be
    long before it was copied."""
    source = approval.body.get("source")
    recorded = source.get("at") if is_pipeline(approval.author) and isinstance(source, Mapping) else ""
    return str(recorded or approval.at)


def render_origin(approval: Entry) -> str:
    """Where the word comes from, for a person: "" for the author's own signature."""
    source = approval.body.get("source")
    if not is_pipeline(approval.author) or not isinstance(source, Mapping):
        return ""
    platform = _PLATFORMS.get(str(source.get("kind")), str(source.get("kind")))
    return f", recorded by {platform}, {source.get('url')}"
