"""Watch: what devices report of one layer, until each has proven it or time is up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import DeviceFacts, Outcome, State, Wanted, judge_at_deadline, judge_device
from edgeferry.errors import HubError, RefusedError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.reasking import Reasking
from edgeferry.workflows.reports import POLL_S, SLOW_S, Reports


@dataclass(frozen=True)
class Watched:
    """How devices ended."""

    outcomes: tuple[Outcome, ...]
    """Of those that the hub still has, in the order in which they were named."""
    deleted: tuple[str, ...] = ()
    """The others: they prove nothing and are in nobody's way."""


def wanted_of(release: Entry, layer: ModelLayer) -> Wanted:
    """What a device must report to have proven the layer; the cases are the registry's to tell."""
    return Wanted(
        module=layer.model,
        digest=layer.digest,
        image_hashes=frozenset({layer.digest, known} if (known := release.body["config_digest"]) else ()),
        cases_sha256=layer.cases_sha256,
        nonce=layer.nonce,
    )


def watch(
    services: Services,
    release: Entry,
    layer: ModelLayer,
    targeted: Sequence[str],
    timeout_s: float,
    on_change: Callable[[Outcome], None],
) -> Watched:
    """The outcome of each targeted device, when all have ended or time is up.

    A hub that does not answer is waited for; the last facts known are judged at the deadline.
    """
    wanted = wanted_of(release, layer)
    reports, reasking = Reports(services, layer.model), Reasking(services, wanted)
    deadline = services.now() + timeout_s
    told: dict[str, Outcome] = {}
    facts: dict[str, DeviceFacts] = {}
    deleted: list[str] = []
    open_ = set(targeted)

    def read() -> Iterator[DeviceFacts]:
        for device, report in reports.read(open_):
            if not report.is_known and reports.is_deleted(device):
                services.say(f"{device} was deleted meanwhile")
                deleted.append(device)
                open_.discard(device)
            else:
                yield report.facts

    while open_:
        late = services.now() >= deadline
        wanted = reports.cases.complete(wanted)
        try:
            for each in reasking.complete(read()):
                facts[each.device], outcome = each, judge_device(wanted, each)
                if is_news(told.get(each.device), outcome):
                    on_change(outcome)
                told[each.device] = outcome
                if outcome.state is not State.PENDING:
                    open_.discard(each.device)
        except HubError as error:
            if not error.retryable or services.now() >= deadline:
                raise
        if late or not open_:
            break
        usual_s = POLL_S if reports.is_few(len(open_)) else SLOW_S
        services.sleep(reports.pause_s(usual_s, deadline - services.now()))
    left = (device for device in targeted if device not in deleted)
    return Watched(tuple(end_outcome(wanted, device, told, facts) for device in left), tuple(sorted(deleted)))


def await_gone(
    services: Services, devices: Sequence[str], module: str, timeout_s: float, digest: str = ""
) -> None:
    """No device reports the module any more, nor has to when it was deleted; RefusedError when one still does
    after `timeout_s`. Where a digest is given: it does not report the module in that image, or has taken up
    that another one is wanted, as it may choose the same by itself."""
    reports = Reports(services, module)
    deadline = services.now() + timeout_s
    open_ = set(devices)
    while True:
        late = services.now() >= deadline
        for device, report in reports.read(open_):
            if _is_gone(report.facts, digest):
                open_.discard(device)
        if not open_:
            return
        if late:
            many = f" and {len(open_) - 1} more" if len(open_) > 1 else ""
            raise RefusedError(
                f"{min(open_)}{many} still runs {module} after {timeout_s:.0f} s",
                fix="edgeferry status; edgeferry logs",
            )
        usual_s = POLL_S if reports.is_few(len(open_)) else SLOW_S
        services.sleep(reports.pause_s(usual_s, deadline - services.now()))


def _is_gone(facts: DeviceFacts, digest: str) -> bool:
    if not facts.image or not facts.image.endswith(digest):
        return True
    is_other = bool(digest and facts.desired_image) and not facts.desired_image.endswith(digest)
    return is_other and facts.reported_version >= facts.brought_by


def render_deleted(watched: Watched) -> str:
    """What is said behind a reason of the devices that were deleted meanwhile; "" where none was."""
    return f"; deleted meanwhile: {', '.join(watched.deleted)}" if watched.deleted else ""


def is_news(before: Outcome | None, outcome: Outcome) -> bool:
    """Whether the outcome says something else than the one before."""
    return before is None or replace(outcome, verdict=None) != replace(before, verdict=None)


def end_outcome(
    wanted: Wanted, device: str, told: Mapping[str, Outcome], facts: Mapping[str, DeviceFacts]
) -> Outcome:
    """The device's final word, by the last facts known."""
    outcome = told.get(device)
    if outcome is None:
        return Outcome(device, State.UNREACHABLE, "the hub told nothing of it")
    return outcome if outcome.state is not State.PENDING else judge_at_deadline(wanted, facts[device])
