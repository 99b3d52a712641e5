"""Steps of Azure Pipelines YAML: shell in the project's folder, and the tasks around it.

Tasks are pinned by major version. A step's secrets are mapped by its own `env`; nothing else sees them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeferry.wire.yaml_text import Block, Map, Node, Place

STATE = "$(Pipeline.Workspace)/edgeferry"
EVIDENCE = "$(Build.ArtifactStagingDirectory)"
RESULTS = "$(Agent.TempDirectory)/results"

_PYTHON = "3.11"
_PACKAGES = {"mmdebstrap": "mmdebstrap debian-archive-keyring", "docker-registry": "docker-registry"}
"""Debian's packages of the programs that edgeferry runs, by program."""


def fields(**entries: Node) -> Map:
    """A mapping of these keys, in this order."""
    return Map(tuple(entries.items()))


@dataclass(frozen=True)
class Steps:
    """Makes the steps of a job."""

    folder: str
    """The project's folder in the repository; "" is its root."""
    version: str
    """Of edgeferry."""
    connection: str = ""
    """The service connection whose identity the steps have; "" for steps without one."""

    def run(
        self, title: str, script: str, env: Mapping[str, str] | None = None, *, name: str = "", when: str = ""
    ) -> Map:
        """A step that runs the bash script in the project's folder, and ends at its first failing line."""
        place = "/".join(part for part in ("$(Build.SourcesDirectory)", self.folder) if part)
        text = Block(f"set -eu -o pipefail\n{script.strip()}\n")
        step: dict[str, Node] = {"task": "AzureCLI@2"} if self.connection else {"bash": text}
        step["displayName"] = title
        if name:
            step["name"] = name
        if when:
            step["condition"] = when
        if self.connection:
            step["inputs"] = fields(
                azureSubscription=self.connection,
                scriptType="bash",
                scriptLocation="inlineScript",
                inlineScript=text,
                workingDirectory=place,
                keepAzSessionActive=True,
            )
        else:
            step["workingDirectory"] = place
        if env:
            step["env"] = fields(**env)
        return fields(**step)

    def start(self, *, programs: Sequence[str] = (), tools: str = "") -> tuple[Map | Place, ...]:
        """Checkout, Python, edgeferry with pip's `tools`, and the programs it needs on this agent."""
        plain = Steps(self.folder, self.version)
        install = f"""
mkdir -p {in_shell(RESULTS)}
pip install --quiet "${{EDGEFERRYPACKAGE:-edgeferry[all,azure]=={self.version}}}" {tools}
""".rstrip()
        for program in programs:
            install += f"""
command -v {program} > /dev/null || {{
  sudo apt-get update -qq
  sudo apt-get install -y -qq --no-install-recommends {_PACKAGES[program]}
}}"""
        cache = fields(
            task="Cache@2",
            displayName="Image layers of earlier runs",
            inputs=fields(key=f'edgeferry | "$(Agent.OS)" | "{self.version}"', path=f"{STATE}/images"),
        )
        return (
            fields(checkout="self", fetchDepth=1),
            fields(
                task="UsePythonVersion@0",
                displayName=f"Python {_PYTHON}",
                inputs=fields(versionSpec=_PYTHON),
            ),
            *((cache,) if programs else ()),
            plain.run("Install edgeferry", install),
        )


def publish_results(title: str) -> Map:
    """What the steps before it wrote in RESULTS, shown with the run; they, not it, decide its colour."""
    return fields(
        task="PublishTestResults@2",
        displayName="Publish the results",
        condition="succeededOrFailed()",
        inputs=fields(
            testResultsFormat="JUnit", testResultsFiles="*.xml", searchFolder=RESULTS, testRunTitle=title
        ),
    )


def publish_artifact(title: str, artifact: str, path: str, *, when: str = "") -> Map:
    """What is in the folder, kept with the run; a run takes a name once, so attempts differ in it."""
    step: dict[str, Node] = {"task": "PublishPipelineArtifact@1", "displayName": title}
    if when:
        step["condition"] = when
    return fields(**step, inputs=fields(targetPath=path, artifact=artifact))


def in_shell(path: str) -> str:
    """A path that begins with a predefined variable, for bash, which has the variable in its environment."""
    variable, _, rest = path.removeprefix("$(").partition(")")
    return f'"${variable.replace(".", "_").upper()}"{rest}'


def words(texts: Sequence[str]) -> str:
    """The texts as arguments in bash."""
    return " ".join(shlex.quote(text) for text in texts)
