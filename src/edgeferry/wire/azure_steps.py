"""Steps of Azure Pipelines YAML: shell in the project's folder, and the tasks around it.

Tasks are pinned by major version. A step's secrets are mapped by its own `env`; nothing else sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeferry.wire.ci_journey import PYTHON, Command, Fleet, Need, Source, install_script
from edgeferry.wire.ci_journey import Steps as Journey
from edgeferry.wire.yaml_text import Block, Map, Node, Place

GIT_LOGIN = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "http.$(System.CollectionUri).extraheader",
    "GIT_CONFIG_VALUE_0": "Authorization: bearer $(System.AccessToken)",
}
"""Lets git log in to the run's own organization, and nowhere else, with the run's token."""
STATE = "$(Pipeline.Workspace)/edgeferry"
EVIDENCE = "$(Build.ArtifactStagingDirectory)"
RESULTS = "$(Agent.TempDirectory)/results"


def fields(**entries: Node) -> Map:
    """A mapping of these keys, in this order."""
    return Map(tuple(entries.items()))


@dataclass(frozen=True)
class Steps:
    """Makes the steps of a job."""

    source: Source
    fleet: Fleet | None = None
    """What the steps may reach; None for those that reach nothing."""

    def render(self, journey: Journey) -> tuple[Map | Place, ...]:
        """The steps of the journey."""
        return tuple(self.run(each) if isinstance(each, Command) else each for each in journey)

    def run(self, command: Command) -> Map:
        """A step that runs the command, with what it needs in its environment."""
        place = "/".join(part for part in ("$(Build.SourcesDirectory)", self.source.folder) if part)
        script = f"set -eu -o pipefail\n{command.script.strip()}\n"
        if command.output:
            order = f"##vso[task.setvariable variable={command.output};isOutput=true]"
            script += f'echo "{order}${command.output}"\n'
        connection = self._connection(command)
        step: dict[str, Node] = {"task": "AzureCLI@2"} if connection else {"bash": Block(script)}
        step["displayName"] = command.title
        if command.name:
            step["name"] = command.name
        if command.always:
            step["condition"] = "always()"
        if connection:
            step["inputs"] = fields(
                azureSubscription=connection,
                scriptType="bash",
                scriptLocation="inlineScript",
                inlineScript=Block(script),
                workingDirectory=place,
                keepAzSessionActive=True,
            )
        else:
            step["workingDirectory"] = place
        env = {name: text for need in command.needs for name, text in self._given(need).items()}
        if env:
            step["env"] = fields(**env)
        return fields(**step)

    def start(
        self, *, extras: str = "all,azure", programs: Sequence[str] = (), tools: str = "", depth: int = 1
    ) -> tuple[Map | Place, ...]:
        """Checkout, Python, edgeferry with pip's `tools`, and the programs it needs on this agent."""
        version = self.source.version
        install = f'mkdir -p "$RESULTS"\n{install_script(version, extras, tools, programs)}'
        cache = fields(
            task="Cache@2",
            displayName="Image layers of earlier runs",
            inputs=fields(key=f'edgeferry | "$(Agent.OS)" | "{version}"', path=f"{STATE}/images"),
        )
        return (
            fields(checkout="self", fetchDepth=depth),
            fields(
                task="UsePythonVersion@0",
                displayName=f"Python {PYTHON}",
                inputs=fields(versionSpec=PYTHON),
            ),
            *((cache,) if programs else ()),
            self.run(Command("Install edgeferry", install)),
        )

    def _connection(self, command: Command) -> str:
        """The service connection whose identity the step has; "" for none."""
        if self.fleet is None:
            return ""
        logged_in = {"nobody": False, "fleet": self.fleet.identity, "model": self.fleet.workspace is not None}
        return self.fleet.connection if logged_in[command.runs_as] else ""

    def _given(self, need: Need) -> Mapping[str, str]:
        """Macros by variable, never values."""
        assert self.fleet is not None
        given = {name: f"$({secret})" for name, secret in self.fleet.secrets.get(need, {}).items()}
        if need == "approvals":
            given["SYSTEM_ACCESSTOKEN"] = "$(System.AccessToken)"
        if need == "ledger" and not self.fleet.ledger_url:
            given["EDGEFERRY_LEDGER__URL"] = "$(Build.Repository.Uri)"
        if need == "ledger" and (not self.fleet.ledger_url or self.fleet.ledger_url.startswith("https://")):
            given |= GIT_LOGIN
        return given


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
