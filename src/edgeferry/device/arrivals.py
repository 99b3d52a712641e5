"""Images on their way to the engine: which are missing, how far they have come, and why they do not come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgeferry.device.images import Images
from edgeferry.device.pulls import Pulls
from edgeferry.domain.device_plan import Pull
from edgeferry.domain.manifest import ModuleSpec, RegistryLogin


class Arrivals:
    """What the plan lacks, as the pulls bring it. How often each is tried is the pulls' affair."""

    def __init__(self, pulls: Pulls, images: Images) -> None:
        self._pulls = pulls
        self._images = images
        self._missing: dict[str, str] = {}
        """Image to why it is needed."""
        self._problems: dict[str, str] = {}
        """Image to why its last pull failed."""

    @property
    def are_expected(self) -> bool:
        """Whether any image is missing of which no pull failed yet."""
        return any(image not in self._problems for image in self._missing)

    def harvest(self) -> None:
        """What came, and what did not, since the last call is known."""
        for image, problem in self._pulls.harvest().items():
            if problem:
                self._problems[image] = problem
            else:
                self._problems.pop(image, None)

    def ask_for(self, missing: Sequence[Pull], logins: Sequence[RegistryLogin]) -> None:
        """The engine gets these images and no others. OSError when it cannot be written down which: then
        their pulls do not begin."""
        self._missing = {pull.image: pull.reason for pull in missing}
        self._problems = {image: why for image, why in self._problems.items() if image in self._missing}
        self._pulls.keep_only(set(self._missing))
        for image in self._missing:
            self._images.note_pulling(image)
            self._pulls.start(image, logins)

    def find_held(self, modules: Iterable[ModuleSpec]) -> dict[str, str]:
        """Module to why its image is not there, of those whose image is missing."""
        reasons = {**self._missing, **self._problems}
        return {spec.name: reasons[spec.image] for spec in modules if spec.image in self._missing}

    def problems(self) -> list[str]:
        """Why images do not come."""
        return list(self._problems.values())

    def progress(self) -> Mapping[str, str]:
        """How far each pull is that runs now, by image, in steps that are worth a report."""
        return {
            image: f"{progress.tenths}0 % of {progress.bytes_known / 1e6:.0f} MB"
            for image, progress in self._pulls.progress().items()
            if progress.bytes_known
        }
