"""Commands `audit verify|show|accept`: whether the ledger is whole, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from edgeferry.cli.confirm import YesOption, confirm
from edgeferry.cli.console import Output, counted, finish, render_table
from edgeferry.cli.project import OutputOption, opened
from edgeferry.domain.approval import find_people, render_origin
from edgeferry.domain.audit import Ran, parse_moment
from edgeferry.domain.ledger_chain import ACCEPT
from edgeferry.domain.release import Entry
from edgeferry.domain.story import describe
from edgeferry.errors import UsageError
from edgeferry.workflows.audit import DeviceAudit, Reason, Told, audit_device, tell_story

audit = typer.Typer(
    no_args_is_help=True,
    help="The ledger: whether it is whole, and who decided what on what evidence.\n\n"
    "[bold]edgeferry audit verify[/bold] checks all of it.",
)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.add_typer(audit, name="audit")


@audit.command()
def verify(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Check the whole ledger: every entry follows the one before, signed by a key that counts, no commit
    changed or removed one, the branch still has what the hub remembers of it, and the hub's fingerprints are
    those of the trusted keys. Exit code 1 when anything is wrong.

    E.g. edgeferry audit verify --env prod"""
    with opened(context, output) as (_, services, terminal):
        check = services.ledger.verify()
        facts = {
            "ok": not check.breaches,
            "entries": check.count,
            "head": check.head,
            "anchor": {"head": check.anchor.head, "entries": check.anchor.count},
            "breaches": [{"where": one.where, "reason": one.reason} for one in check.breaches],
        }
        if check.breaches:
            rows = [[one.where, one.reason] for one in check.breaches]
            terminal.answer(facts, [render_table("What is wrong", ("where", "why"), rows)])
        else:
            unheard = check.count - check.anchor.count
            lag = f"; of the newest {unheard} the hub has yet to hear" if unheard else ""
            lines = [f"{_entries(check.count)}, whole and signed, up to commit {check.head[:12]}{lag}"]
            terminal.answer(facts, lines if check.count else ["the ledger is empty"])
        finish(
            not check.breaches,
            f"{counted(len(check.breaches), 'thing')} wrong with the ledger of {_entries(check.count)}",
            f"restore the branch from a clone that has it all; who knows that it is right as it is: {ACCEPT}",
        )


@audit.command()
def show(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="RELEASE|ROLLOUT", help="Default: all entries, the newest first.")
    ] = "",
    device: Annotated[str, typer.Option("--device", "-d", help="What was desired there, and why.")] = "",
    at: Annotated[
        str, typer.Option("--at", help="When: 2026-11-28 (its end), or 2026-11-28T14:00, UTC; default: now.")
    ] = "",
    top: Annotated[int, typer.Option(min=1, help="At most so many entries where no name is given.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """What the ledger says: of a release or a rollout, every decision about it; of a device, what was desired
    there at that time, who approved it on what evidence, and what its agent says ran.

    E.g. edgeferry audit show --device press-1 --at 2026-11-28"""
    if name and device:
        raise UsageError("a name and --device are two questions", fix="ask one after the other")
    if at and not device:
        raise UsageError("--at says when to look at a device", fix="add --device NAME")
    moment = parse_moment(at, datetime.now(UTC))
    with opened(context, output) as (_, services, terminal):
        if device:
            found = audit_device(services, device, moment)
            terminal.answer(_device_facts(found), _device_lines(found))
            return
        told = list(tell_story(services, name))
        told = told if name else told[::-1][:top]
        rows = [
            [
                one.entry.id.partition("-")[0],
                one.entry.at[:19].replace("T", " "),
                one.entry.author,
                *_said(one),
            ]
            for one in told
        ]
        columns = ("entry", "at (UTC)", "signed by", "kind", "of", "says")
        terminal.answer(
            [_entry_facts(one.entry, one.distrust) for one in told],
            [render_table(name or "The ledger", columns, rows)],
        )


@audit.command()
def accept(context: typer.Context, yes: YesOption = False, output: OutputOption = Output.TABLE) -> None:
    """Make the hub take the ledger as it is for whole: its head, and the fingerprints of the keys that are
    trusted here. For a ledger that was replaced on purpose, and for a key that was added or taken away.

    E.g. edgeferry audit accept --env prod"""
    with opened(context, output) as (_, services, terminal):
        confirm("The hub forgets what it remembers of the ledger, and takes it as it is now for right.", yes)
        state = services.ledger.accept()
        keys = {author: list(prints) for author, prints in state.fingerprints.items()}
        rows = [[author, print_] for author, prints in keys.items() for print_ in prints]
        facts = {"head": state.head, "entries": state.count, "keys": keys}
        line = f"the hub remembers {_entries(state.count)} up to commit {state.head[:12] or 'none'}"
        terminal.answer(facts, [line, render_table("Keys that count", ("name", "fingerprint"), rows)])


def _said(told: Told) -> tuple[str, str, str]:
    entry = told.entry
    said = f"does not count: {told.distrust}" if told.distrust else describe(entry)
    return entry.kind, entry.subject, said


def _entry_facts(entry: Entry, distrust: str) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind,
        "subject": entry.subject,
        "at": entry.at,
        "author": entry.author,
        "key": entry.key,
        "counts": not distrust,
        "reason": distrust or describe(entry),
        "body": dict(entry.body),
    }


def _device_facts(found: DeviceAudit) -> dict[str, Any]:
    return {
        "device": found.device,
        "at": found.at.isoformat(timespec="seconds"),
        "desired": [_reason_facts(one) for one in found.reasons],
        "ran": _ran_facts(found.ran),
        "ignored": [{"id": one.entry.id, "reason": one.distrust} for one in found.ignored],
    }


def _reason_facts(reason: Reason) -> dict[str, Any]:
    desire, release = reason.desire, reason.release
    evidence = ("version", "digest", "verification_sha256", "cases_sha256", "metrics")
    return {
        "model": desire.model,
        "environment": desire.environment,
        "release": desire.release,
        "since": desire.since,
        "rollout": desire.rollout.subject,
        "wave": desire.wave,
        "state": desire.state,
        "reason": desire.reason,
        "plan": desire.rollout.body.get("plan"),
        "evidence": {name: release.body.get(name) for name in evidence} if release else None,
        "approvals": [
            {
                "id": one.id,
                "people": list(find_people(one)),
                "decision": one.body.get("decision"),
                "at": one.at,
                "source": one.body.get("source"),
            }
            for one in reason.approvals
        ],
    }


def _ran_facts(ran: Ran) -> dict[str, Any]:
    return {
        "known": not ran.note,
        "note": ran.note,
        "at": ran.at,
        "images": dict(ran.images),
        "outcome": ran.outcome,
        "reason": ran.reason,
        "undone": ran.undone,
    }


def _device_lines(found: DeviceAudit) -> list[str]:
    lines = [f"{found.device} at {found.at.isoformat(sep=' ', timespec='seconds')}"]
    for reason in found.reasons:
        lines += ["", *_reason_lines(reason)]
    if not found.reasons:
        lines += ["", "nothing of ours was desired there, as far as the ledger tells"]
    ran = found.ran
    if ran.note:
        lines += ["", f"what ran is not known: {ran.note}"]
    else:
        reason_ = f": {ran.reason}" if ran.reason else ""
        lines += ["", f"what ran, as its agent says: applied at {ran.at}, {ran.outcome}{reason_}"]
        lines += [f"  {module}: {image}" for module, image in sorted(ran.images.items())]
        lines += [f"  gone again: {ran.undone}"] if ran.undone else []
    if found.ignored:
        lines += ["", f"{_entries(len(found.ignored))} do not count; edgeferry audit verify says why"]
    return lines


def _reason_lines(reason: Reason) -> list[str]:
    desire, release = reason.desire, reason.release
    where = f" in {desire.environment}" if desire.environment else ""
    wave = f", wave {desire.wave}" if desire.wave else ""
    lines = [
        f"{desire.model}{where}: {desire.release}",
        f"  since {desire.since}, rollout {desire.rollout.subject}{wave}",
    ]
    if desire.state:
        lines.append(f"  the device ended {desire.state}{f': {desire.reason}' if desire.reason else ''}")
    for one in reason.approvals:
        people = " and ".join(find_people(one))
        lines.append(f"  approved by {people}{render_origin(one)}, at {one.at} ({one.id})")
    if not reason.approvals:
        lines.append("  approved by nobody whose word counts")
    if release is None:
        return [*lines, "  on evidence that is not in the ledger, or does not count"]
    body = release.body
    metrics = body.get("metrics") or {}
    lines += [
        f"  on evidence: version {body.get('version')}, image {body.get('digest')}",
        f"    verification {body.get('verification_sha256')}, smoke cases {body.get('cases_sha256')}",
    ]
    if metrics:
        lines.append(f"    metrics {', '.join(f'{name} {value}' for name, value in sorted(metrics.items()))}")
    return lines


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"
