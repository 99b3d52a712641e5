"""GitHub REST 2022-11-28: what the review history of a workflow run says about one environment.

`GET /repos/{owner}/{repo}/actions/runs/{run_id}/approvals`: a list of reviews, each with `state` (`approved`,
`rejected`, or `pending` for a mere comment), `user` (`login`, `type`), `comment`, and the `environments` that
it was about (`id`, `name`). A review bears neither an id nor a time, and stands in the history of every
attempt of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from edgeferry.domain.approval import Word

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}

_PERSON = "User"


def render_reviews_url(api: str, repository: str, run: str) -> str:
    """Where the run's review history is; `repository` is OWNER/NAME."""
    return f"{api}/repos/{quote(repository)}/actions/runs/{quote(run, safe='')}/approvals"


def render_run_url(server: str, repository: str, run: str) -> str:
    """The run's page, for a person."""
    return f"{server}/{quote(repository)}/actions/runs/{quote(run, safe='')}"


def parse_reviews(document: Any, environment: str, run: str, server: str) -> tuple[Word, ...]:
    """What was said about that environment, one word for each person, sorted by id; ValueError when it is no
    review history.

    People are named LOGIN@HOST, so that nobody is taken for the owner of a key with the same name. Who is no
    person, such as an app, can say no, and no yes. One who rejected in any attempt did not approve.
    """
    if not isinstance(document, Sequence) or isinstance(document, str):
        raise ValueError("it is no list of reviews")
    host = urlsplit(server).hostname or ""
    states: dict[tuple[str, str, str], set[str]] = {}
    for review in document:
        if not isinstance(review, Mapping):
            raise ValueError("one of its reviews is none")
        state, user = str(review.get("state") or ""), review.get("user") or {}
        if state == "pending":
            continue
        for each in review.get("environments") or ():
            if each.get("name") == environment:
                key = (str(each.get("id") or ""), str(user.get("login") or ""), str(user.get("type") or ""))
                states.setdefault(key, set()).add(state)
    return tuple(
        Word(
            id=f"{run}/{number}/{login}",
            status="approved" if said == {"approved"} else min(said - {"approved"}),
            approvers=(f"{login}@{host}",) if login else (),
            at="",
        )
        for (number, login, kind), said in sorted(states.items())
        if kind == _PERSON or said != {"approved"}
    )
