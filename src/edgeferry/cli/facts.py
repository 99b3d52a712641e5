"""How images, shipments and verifications look: as JSON, and as tables and lines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from edgeferry.cli.console import render_table, short
from edgeferry.cli.watching import rollout_facts
from edgeferry.domain.image import Image
from edgeferry.domain.verification import Verification
from edgeferry.workflows.ship import Shipment, render_runtime


def image_facts(image: Image) -> dict[str, Any]:
    """An image as JSON."""
    return {
        "name": image.name,
        "digest": image.digest,
        "config_digest": image.config_digest,
        "size_bytes": image.size_bytes,
        "labels": dict(image.labels),
        "layers": [
            {
                "title": layer.title,
                "digest": layer.digest,
                "diff_id": layer.diff_id,
                "size_bytes": layer.size_bytes,
            }
            for layer in image.layers
        ],
    }


def shipment_facts(shipment: Shipment) -> dict[str, Any]:
    """A shipment as JSON."""
    return {
        "ok": shipment.ok,
        "model": shipment.model,
        "problem": shipment.problem,
        "fix": shipment.fix,
        "release": shipment.release.subject if shipment.release else None,
        "digest": shipment.image.digest if shipment.image else None,
        "stages": [
            {"stage": s.name, "state": s.state, "seconds": round(s.seconds, 2), "detail": s.detail}
            for s in shipment.stages
        ],
        "rollout": rollout_facts(shipment.rollout) if shipment.rollout else None,
        "smoke": [
            {
                "device": each.device,
                "passed": each.passed,
                "state": each.state,
                "reason": each.reason,
                "latency_ms": each.verdict.latency_ms if each.verdict else None,
                "asked": each.verdict.asked if each.verdict else 0,
            }
            for each in shipment.smokes
        ],
    }


def shipment_tables(shipment: Shipment) -> list[Table | str]:
    """A shipment as a table: device, state, digest, verdict, latency."""
    if not shipment.rollout or not shipment.rollout.outcomes:
        return []
    fresh = {each.device: each for each in shipment.smokes}
    rows = []
    for outcome in shipment.rollout.outcomes:
        asked = fresh.get(outcome.device)
        verdict = asked.verdict if asked else outcome.verdict
        rows.append(
            [
                outcome.device,
                shipment.model,
                str(outcome.state),
                short(outcome.digest),
                verdict.state if verdict else "none",
                f"{verdict.latency_ms:.1f}" if verdict else "",
            ]
        )
    columns = ("device", "model", "state", "digest", "verdict", "ms")
    return [render_table("Devices", columns, rows)]


def verification_facts(verification: Verification) -> dict[str, Any]:
    """A verification as JSON."""
    return asdict(verification)


def verification_lines(verification: Verification) -> list[Table | str]:
    if not verification.passed:
        return [*verification.problems, render_runtime(verification)]
    return [
        render_runtime(verification),
        f"asked: {verification.asked}; all equal within tolerance, "
        f"worst relative difference {verification.worst_relative:.1e}",
        f"ready in {verification.ready_s:.2f} s, median answer {verification.latency_ms:.2f} ms",
    ]
