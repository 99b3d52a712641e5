"""Whether the image on the engine is the one that was asked for. Pure."""

from __future__ import annotations

from edgeferry.engine_images import ImageFacts


def check_image(facts: ImageFacts | None, reference: str, known_id: str = "") -> str:
    """What is wrong with the engine's image for `reference`, or "". By digest it must carry that digest; by a
    tag it must be the image `known_id` that ran under it before, if there is one: a tag can be moved."""
    if facts is None:
        return f"the engine does not have {reference}"
    repository, _, digest = reference.partition("@")
    if digest:
        name = _without_tag(repository)
        if facts.id == digest or f"{name}@{digest}" in facts.repo_digests:
            return ""
        has = ", ".join(facts.repo_digests) or facts.id
        return f"the engine's image for {reference} has another digest: {has}"
    if known_id and facts.id != known_id:
        return f"the tag {reference} was moved: it was {known_id} and is {facts.id}"
    return ""


def _without_tag(repository: str) -> str:
    head, slash, last = repository.rpartition("/")
    return head + slash + last.partition(":")[0]
