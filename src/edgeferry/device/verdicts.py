"""What the companion on this device says of the models, read on the device's own network, without a hub."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping

from edgeferry.domain.smoke import Verdict
from edgeferry.engine import ContainerFacts
from edgeferry.errors import UsageError
from edgeferry.wire.verdict import COMPANION_PORT, parse_verdicts

KIND_LABEL = "io.edgeferry.kind"
KIND = "companion"
_LOOK_S = 1.0
_ANSWER_S = 2.0

_log = logging.getLogger(__name__)


def find_companion(containers: Iterable[ContainerFacts], network: str) -> str:
    """The address at which the companion tells its verdicts; empty when none runs."""
    for facts in containers:
        address = facts.addresses.get(network, "")
        if facts.running and address and facts.labels.get(KIND_LABEL) == KIND:
            return f"http://{address}:{COMPANION_PORT}/verdict"
    return ""


def fetch_verdicts(url: str) -> dict[str, Verdict]:
    """The verdicts by model; none when the companion does not tell any."""
    if not url:
        return {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_ANSWER_S) as response:
            return parse_verdicts(json.loads(response.read()))
    except (OSError, urllib.error.URLError, ValueError, UsageError) as error:
        _log.debug("no verdicts url=%s: %s", url, error)
        return {}


def mark(verdict: Verdict) -> str:
    """By which the verdict is known again."""
    return f"{verdict.nonce} {verdict.at}"


class Verdicts:
    """Looks at the companion every second while told to, in a thread of its own; news set `wake`."""

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake
        self._url = ""
        self._said: Mapping[str, Verdict] = {}
        self._looking = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="verdicts", daemon=True)

    def start(self) -> None:
        """Ready to look."""
        self._thread.start()

    def stop(self) -> None:
        """The thread has ended."""
        self._stopping.set()
        self._looking.set()
        self._thread.join(timeout=_ANSWER_S + 1)

    def look_at(self, url: str) -> None:
        """From now on verdicts are read there; nowhere when it is empty."""
        self._url = url
        if url:
            self._looking.set()
        else:
            self._looking.clear()
            self._said = {}

    def current(self) -> Mapping[str, Verdict]:
        """The verdicts by model, as of the last look."""
        return self._said

    def _look(self) -> None:
        while self._looking.wait() and not self._stopping.is_set():
            said = fetch_verdicts(self._url)
            if said != self._said:
                self._said = said
                self._wake.set()
            self._stopping.wait(_LOOK_S)
