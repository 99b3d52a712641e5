"""Steps of GitHub workflows: shell in the project's folder, and the actions around it.

Actions are pinned to commits; docs/ci.md says how to renew them. A step's secrets are mapped by its own
`env`, and none of GitHub's expressions stands in a script: what it holds could end it and begin another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeferry.wire.ci_journey import PYTHON, Command, Fleet, Need, Source, install_script
from edgeferry.wire.ci_journey import Steps as Journey
from edgeferry.wire.yaml_text import Block, Map, Node, Place, Said

CHECKOUT = Said("actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "v6.0.2")
SETUP_PYTHON = Said("actions/setup-python@a309ff8b426b58ec0e2a45f0f869d46889d02405", "v6.2.0")
CACHE = Said("actions/cache@8b402f58fbc84540c8b491a91e594a4576fec3d7", "v5.0.2")
UPLOAD = Said("actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1")
LOGIN = Said("azure/login@532459ea530d8321f2fb9bb10d1e0bcf23869a43", "v3.0.0")

TOKEN = "${{ github.token }}"
OWN_REPOSITORY = "${{ github.server_url }}/${{ github.repository }}"
HELPER = '!f() { test "$1" = get || exit 0; echo username=x-access-token; echo "password=$LEDGER_TOKEN"; }; f'
"""A credential helper of git (gitcredentials(7)), which gives the token that stands in its environment."""
_STATE = "${{ runner.temp }}/edgeferry"
_PLACES = """
mkdir -p "$RUNNER_TEMP"/edgeferry "$RUNNER_TEMP"/results "$RUNNER_TEMP"/evidence
{
  echo "EDGEFERRY_STATE=$RUNNER_TEMP/edgeferry"
  echo "RESULTS=$RUNNER_TEMP/results"
  echo "EVIDENCE=$RUNNER_TEMP/evidence"
} >> "$GITHUB_ENV"
"""
_VARIABLES = ("registry-username", "registry-uri")
"""Names that are no secrets, and so are variables at GitHub."""


def fields(**entries: Node) -> Map:
    """A mapping of these keys, in this order; `_` in a key is `-`, as GitHub writes them."""
    return Map(tuple((name.replace("_", "-"), value) for name, value in entries.items()))


@dataclass(frozen=True)
class Steps:
    """Makes the steps of a job."""

    source: Source
    fleet: Fleet | None = None
    """What the steps may reach; None for those that reach nothing."""

    def render(self, journey: Journey) -> tuple[Map | Place, ...]:
        """The steps of the journey, with a login to Azure before the first that needs one."""
        made: list[Map | Place] = []
        before = "nobody"
        for each in journey:
            who = each.runs_as if isinstance(each, Command) and self._logs_in(each) else before
            if who != before:
                # One login lasts an hour or so, which a training may take: the fleet's steps have their own.
                made.append(
                    self._login(f"Log in to Azure for {'training' if who == 'model' else 'the fleet'}")
                )
                before = who
            made.append(self.run(each) if isinstance(each, Command) else each)
        return tuple(made)

    def run(self, command: Command) -> Map:
        """A step that runs the command, with what it needs in its environment."""
        script = f"set -eu -o pipefail\n{command.script.strip()}\n"
        if command.runs_as == "model" and self.needs_identity and not self._logs_in(command):
            script = f"unset ACTIONS_ID_TOKEN_REQUEST_TOKEN ACTIONS_ID_TOKEN_REQUEST_URL\n{script}"
        if command.output:
            script += f'echo "{command.output}=${command.output}" >> "$GITHUB_OUTPUT"\n'
        step: dict[str, Node] = {"name": command.title}
        if command.name:
            step["id"] = command.name
        if command.always:
            step["if"] = "always()"
        env = {name: text for need in command.needs for name, text in self._given(need).items()}
        if env:
            step["env"] = Map(tuple(env.items()))
        return fields(**step, run=Block(script))

    def start(
        self,
        *,
        extras: str = "all,azure",
        programs: Sequence[str] = (),
        tools: str = "",
        depth: int = 1,
        cached: bool = False,
    ) -> tuple[Map | Place, ...]:
        """Checkout, Python, edgeferry with pip's `tools`, and the programs it needs on this runner."""
        version = self.source.version
        cache = fields(
            name="Image layers of earlier runs",
            uses=CACHE,
            **{"with": fields(path=f"{_STATE}/images", key=f"edgeferry-${{{{ runner.os }}}}-{version}")},
        )
        checkout = {"persist_credentials": False, **({"fetch_depth": depth} if depth != 1 else {})}
        install = f"{_PLACES.strip()}\n{install_script(version, extras, tools, programs)}"
        return (
            fields(name="Check out", uses=CHECKOUT, **{"with": fields(**checkout)}),
            fields(name=f"Python {PYTHON}", uses=SETUP_PYTHON, **{"with": fields(python_version=PYTHON)}),
            *((cache,) if cached else ()),
            self.run(Command("Install edgeferry", install)),
        )

    @property
    def needs_identity(self) -> bool:
        """Whether any step logs in to Azure."""
        fleet = self.fleet
        return fleet is not None and (fleet.identity or (fleet.vault and fleet.asks_secrets))

    @property
    def writes_repository(self) -> bool:
        """Whether the ledger is a branch of the workflows' own repository."""
        return self.fleet is not None and not self.fleet.ledger_url

    def _logs_in(self, command: Command) -> bool:
        if self.fleet is None or command.runs_as == "nobody":
            return False
        return self.needs_identity if command.runs_as == "fleet" else self.fleet.workspace is not None

    def _login(self, title: str) -> Map:
        ids = {name: f"${{{{ vars.AZURE_{name.upper()} }}}}" for name in ("client_id", "tenant_id")}
        given = fields(**ids, allow_no_subscriptions=True)
        return fields(name=title, uses=LOGIN, **{"with": given})

    def _given(self, need: Need) -> Mapping[str, str]:
        """Expressions and addresses by variable, never values."""
        assert self.fleet is not None
        given = {name: self._secret(secret) for name, secret in self.fleet.secrets.get(need, {}).items()}
        if need == "approvals":
            given |= {"GITHUB_TOKEN": TOKEN, "APPROVAL_ENVIRONMENT": self.fleet.name}
        url = self.fleet.ledger_url
        if need == "ledger" and not url:
            given |= {
                "EDGEFERRY_LEDGER__URL": OWN_REPOSITORY,
                **_git_login("${{ github.server_url }}", TOKEN),
            }
        elif need == "ledger" and url.startswith("https://"):
            host = "/".join(url.split("/")[:3])
            given |= _git_login(host, "${{ secrets.LEDGER_TOKEN }}")
        return given

    def _secret(self, name: str) -> str:
        if name in _VARIABLES:
            return f"${{{{ vars.{_upper(name)} }}}}"
        if self.fleet is not None and self.fleet.vault:
            return f"keyvault://{name}"
        return f"${{{{ secrets.{_upper(name)} }}}}"


def publish(title: str, artifact: str, place: str) -> Map:
    """What is in the folder below the runner's temporary one, kept with the run, whatever became of it."""
    given = fields(
        name=f"{artifact}-${{{{ github.run_attempt }}}}",
        path=f"${{{{ runner.temp }}}}/{place}",
        if_no_files_found="ignore",
    )
    return fields(name=title, **{"if": "always()"}, uses=UPLOAD, **{"with": given})


def _git_login(host: str, token: str) -> dict[str, str]:
    """Lets git log in to that host, and nowhere else, with the token."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"credential.{host}.helper",
        "GIT_CONFIG_VALUE_0": HELPER,
        "LEDGER_TOKEN": token,
    }


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")
