"""The one place that knows every adapter: settings in, services out.

An adapter, the engine's client and the sandbox are imported where they are made, and what makes them is asked
when they are first used: a command reads in what it uses, with the libraries below it, and nothing else."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from edgeferry.domain.approval import GITHUB
from edgeferry.errors import UsageError
from edgeferry.ports import (
    Anchor,
    Approvals,
    Commands,
    History,
    Hub,
    Ledger,
    Machine,
    Messages,
    Registry,
    Services,
    Sheet,
    TextFolder,
    Work,
    show_nobody,
)
from edgeferry.ports_models import Builder, Converter, Images, Place, Project, Runs, Stage
from edgeferry.ports_projects import NewProject, PipelineFunctions, ProjectTree, Templates
from edgeferry.settings import Settings
from edgeferry.settings_table import environment_name
from edgeferry.surroundings import default_engine_host, read_github_run, read_pipeline_run
from edgeferry.wire.acr import is_azure
from edgeferry.wire.connection import azure_hub_name
from edgeferry.wiring_logins import Values, hub_login, make_signer, pull_login

if TYPE_CHECKING:
    from edgeferry.adapters.azureml import AzureMlPlace
    from edgeferry.adapters.ledger import GitLedger
    from edgeferry.adapters.machine import HubFromContainers
    from edgeferry.adapters.runner import LocalRunner
    from edgeferry.adapters.tracking import MlflowTracking
    from edgeferry.domain.given import GivenModel
    from edgeferry.engine import Engine
    from edgeferry.wire.capture_table import Table

_UP = "edgeferry up, which starts one or says what is missing; or correct engine.url"
"""What to do where no container engine answers and nobody chose one."""


@contextmanager
def open_services(
    settings: Settings, say: Callable[[str], None], work: Work = show_nobody
) -> Iterator[Services]:
    """All services of a project. Each adapter is built when it is first used, so a command needs only the
    settings of what it touches; connections are closed at the end."""
    with ExitStack() as stack:
        values = Values(settings, say)
        azureml = cast("AzureMlPlace", _Later(lambda: _azureml(values, say)))
        tracking = cast("MlflowTracking", _Later(lambda: _tracking(settings, azureml)))
        runner = cast("LocalRunner", _Later(lambda: _runner(settings, tracking, say)))
        hub = cast(Hub, _Later(lambda: stack.enter_context(_connected(values))))
        anchor = cast(Anchor, _Later(lambda: _anchor(values, hub)))
        yield Services(
            project=cast(Project, _Later(lambda: _project(settings))),
            runner=runner,
            place=cast(Place, _Later(lambda: _place(settings, azureml, runner))),
            runs=cast(Runs, _Later(lambda: _runs(settings))),
            tracking=tracking,
            converter=cast(Converter, _Later(_converter)),
            images=cast(Images, _Later(lambda: _images(settings, say))),
            builder=cast(Builder, _Later(lambda: _builder(settings))),
            stage=cast(Stage, _Later(lambda: _stage(settings))),
            registry=cast(Registry, _Later(lambda: _registry(values, stack))),
            ledger=cast(Ledger, _Later(lambda: _anchored_ledger(values, anchor, say))),
            anchor=anchor,
            hub=hub,
            pull_login=lambda: pull_login(values),
            now=time.time,
            sleep=time.sleep,
            new_id=lambda: uuid.uuid4().hex,
            say=say,
            work=work,
            alarm=lambda body: _alarm(values, body, say),
        )


def _project(settings: Settings) -> Project:
    from edgeferry.adapters.project import ProjectFolder

    return ProjectFolder(settings.root)


def _runner(settings: Settings, tracking: MlflowTracking, say: Callable[[str], None]) -> LocalRunner:
    from edgeferry.adapters.runner import LocalRunner

    return LocalRunner(settings.state, tracking, _find_uv(), say)


def _place(settings: Settings, azureml: AzureMlPlace, runner: LocalRunner) -> Place:
    from edgeferry.adapters.local_place import LocalPlace

    return azureml if settings["train.place"] == "azureml" else LocalPlace(runner)


def _runs(settings: Settings) -> Runs:
    from edgeferry.adapters.runs import RunsFolder

    return RunsFolder(settings.state / "runs")


def _converter() -> Converter:
    from edgeferry.adapters.converter import SklearnConverter

    return SklearnConverter()


def _builder(settings: Settings) -> Builder:
    from edgeferry.adapters.build import EngineBuilder
    from edgeferry.adapters.layers import LayerStore

    folder = settings.state / "images"
    return EngineBuilder(
        lambda: _connect_engine(settings), LayerStore(folder), folder / "builds", settings.state / "scratch"
    )


def _stage(settings: Settings) -> Stage:
    from edgeferry.adapters.stage import EngineStage

    return EngineStage(lambda: _connect_engine(settings), settings.state / "scratch")


def _azureml(values: Values, say: Callable[[str], None]) -> AzureMlPlace:
    from edgeferry.adapters.azureml import AzureMlPlace, Cluster, Workspace

    names = ("azure.subscription_id", "azure.resource_group", "azure.workspace")
    workspace = Workspace(*(values.get(name) for name in names))
    cluster = Cluster(
        values.need("azureml.compute"),
        values.get("azureml.compute_size"),
        values.count("azureml.compute_nodes"),
    )
    return AzureMlPlace(
        values.entra,
        workspace,
        cluster,
        say,
        values.seconds("azureml.poll_s"),
        lambda: [values.need(name) for name in names],
    )


def _tracking(settings: Settings, azureml: AzureMlPlace) -> MlflowTracking:
    """What `tracking.uri` says; where pipelines run on Azure ML and nobody set it, the workspace's own."""
    from edgeferry.adapters.tracking import MlflowTracking

    files = settings.state / "mlflow" / "artifacts", settings.state / "downloads"
    if settings["train.place"] == "azureml" and settings.values["tracking.uri"].source == "default":
        return MlflowTracking(azureml.tracking_uri(), *files)
    return MlflowTracking(settings["tracking.uri"], *files)


def _images(settings: Settings, say: Callable[[str], None]) -> Images:
    from edgeferry.adapters.base import DebianBase
    from edgeferry.adapters.images import LayeredImages
    from edgeferry.adapters.layers import LayerStore

    store = LayerStore(settings.state / "images")
    base = DebianBase(store, settings["images.mirror"], say)
    return LayeredImages(store, base, _find_uv(), settings["images.architecture"])


def _find_uv() -> str:
    """Imported late, because a hub alone is installed without it; UsageError that says so."""
    try:
        from uv import find_uv_bin
    except ImportError as error:
        raise UsageError(
            "uv is not installed, which makes the environments of steps and images",
            fix="install it with what training needs: pip install 'edgeferry[train]'",
        ) from error
    return find_uv_bin()


def _connect_engine(settings: Settings) -> Engine:
    from edgeferry.engine import Engine
    from edgeferry.engine_connection import START_IT
    from edgeferry.sandbox.engine import DEFAULT_SOCKET, find_running

    chosen = settings["engine.url"] or default_engine_host()
    ours = not chosen or settings.values["engine.url"].source.startswith("this machine")
    url = chosen or find_running() or f"unix://{DEFAULT_SOCKET}"
    return Engine(url, start_it=_UP if ours else START_IT)


def _registry(values: Values, stack: ExitStack) -> Registry:
    """By user name and password where they are set; else Azure's registry by Microsoft Entra, another without
    login."""
    from edgeferry.adapters.entra import REGISTRY_SCOPE
    from edgeferry.adapters.registry import RegistryClient

    host = values.need("registry.host")
    username, password = values.login()
    by_entra = not username and is_azure(host)
    registry = RegistryClient(
        host,
        values.get("registry.prefix"),
        username,
        password,
        values.get("registry.ca_file"),
        aad_token=(lambda: values.entra.token(REGISTRY_SCOPE)) if by_entra else None,
        renew=lambda: values.login(afresh=True),
    )
    stack.callback(registry.close)
    return registry


def _anchored_ledger(values: Values, anchor: Anchor, say: Callable[[str], None]) -> Ledger:
    from edgeferry.adapters.anchored_ledger import AnchoredLedger

    return AnchoredLedger(_ledger(values), anchor, say, environment=values.settings.environment)


def _ledger(values: Values) -> GitLedger:
    from edgeferry.adapters.ledger import GitLedger
    from edgeferry.adapters.signer import KeyFolder

    settings = values.settings
    trusted = Path(settings["ledger.trusted_keys"])
    keys = KeyFolder(
        settings.state / "keys",
        trusted,
        may_trust=trusted == settings.state / "trust",
        given={settings["user"]: make_signer(values)} if settings["ledger.signing_key"] else {},
    )
    cache = settings.state / "ledger"
    return GitLedger(values.get("ledger.url"), settings["ledger.branch"], cache, keys, time.time)


def _anchor(values: Values, hub: Hub) -> Anchor:
    from edgeferry.adapters.anchor import TwinAnchor

    return TwinAnchor(hub, values.get("ledger.url"), values.settings["ledger.branch"])


def _alarm(values: Values, body: dict[str, Any], say: Callable[[str], None]) -> None:
    """Who is to know is told, where anybody is."""
    if url := values.get("rollout.webhook"):
        from edgeferry.adapters.webhook import Webhook

        Webhook(url, say).send(body)


@contextmanager
def open_hub(settings: Settings, say: Callable[[str], None]) -> Iterator[Hub]:
    """The hub's service API."""
    with _connected(Values(settings, say)) as hub:
        yield hub


@contextmanager
def open_messages(settings: Settings, say: Callable[[str], None]) -> Iterator[Messages]:
    """What devices said: from the events endpoint where one is set, else from our own hub. UsageError where
    the hub is Azure's and no endpoint is set."""
    from edgeferry.adapters.event_hub import EventHubMessages
    from edgeferry.adapters.hub import HubClient
    from edgeferry.adapters.hub_messages import HubMessages

    values = Values(settings, say)
    name = "hub.events_connection_string"
    if settings[name]:
        yield EventHubMessages(lambda afresh: values.get(name, afresh=afresh))
        return
    login = hub_login(values)
    if azure_hub_name(login.host):
        raise UsageError(
            f"messages of {login.host} are read at its Event Hub-compatible endpoint, and {name} is not set",
            fix=f"set {environment_name(name)}: az iot hub connection-string show --default-eventhub",
        )
    with closing(HubClient(login, values.get("hub.ca_file"))) as hub:
        yield HubMessages(hub)


@contextmanager
def _connected(values: Values) -> Iterator[Hub]:
    from edgeferry.adapters.hub import HubClient

    hub = HubClient(
        hub_login(values),
        values.get("hub.ca_file"),
        queries_per_minute=values.count("hub.queries_per_minute", none="0") or math.inf,
    )
    try:
        yield hub
    finally:
        hub.close()


def open_history(settings: Settings) -> History:
    """The git repository that the project is in."""
    from edgeferry.adapters.git_history import GitHistory

    return GitHistory(settings.root)


def open_commands() -> Commands:
    """Our own commands, as processes."""
    from edgeferry.adapters.own_commands import OwnCommands

    return OwnCommands()


def open_approvals(platform: str) -> Approvals:
    """The platform that this pipeline runs on."""
    from edgeferry.adapters.azure_devops import AzureDevOpsApprovals
    from edgeferry.adapters.github import GitHubApprovals

    return GitHubApprovals(read_github_run) if platform == GITHUB else AzureDevOpsApprovals(read_pipeline_run)


def open_parquet(table: Table, file: IO[bytes]) -> Sheet:
    """A Parquet file of that shape; UsageError where its library is not installed."""
    from edgeferry.adapters.parquet import ParquetSheet

    return ParquetSheet(table, file)


def open_machine(settings: Settings) -> Machine:
    """This machine, and the container engine that the settings choose."""
    from edgeferry.adapters.machine import LocalMachine

    return LocalMachine(
        settings.root,
        settings.state,
        settings["images.mirror"],
        settings["engine.url"] or default_engine_host(),
        lambda: _connect_engine(settings),
        lambda: _find_hub_of_containers(settings),
    )


def _find_hub_of_containers(settings: Settings) -> HubFromContainers | None:
    """Where containers on this machine find the hub; None where it has no address that they could reach."""
    from edgeferry.adapters.machine import HubFromContainers
    from edgeferry.device.link import MQTT_PORT
    from edgeferry.sandbox.local import HUB_PORT, load_sandbox

    host = hub_login(Values(settings, lambda _: None)).host
    sandbox = load_sandbox(settings.state)
    if sandbox and host.partition(":")[0] == sandbox.address:
        return HubFromContainers(sandbox.gateway, (HUB_PORT, MQTT_PORT), sandbox.network)
    name, _, port = host.partition(":")
    if name == "localhost" or name.startswith("127."):
        return None
    return HubFromContainers(name, (int(port or 443), MQTT_PORT), "bridge")


def open_accelerator(root: Path) -> tuple[ProjectTree, PipelineFunctions]:
    """A project laid out as microsoft/mlops-accelerator-for-edge, and its pipeline functions."""
    from edgeferry.adapters.pipeline_function import IsolatedFunctions
    from edgeferry.adapters.project_tree import AcceleratorTree

    return AcceleratorTree(root), IsolatedFunctions(root)


def open_new_project(root: Path, source: Path) -> AbstractContextManager[NewProject]:
    """A project that is written in `root`, of files of `source`."""
    from edgeferry.adapters.project_tree import new_project

    return new_project(root, source)


def read_recorder() -> str:
    """The source of the module that notes which version a step registered."""
    from edgeferry.adapters.pipeline_function import RECORDER

    return RECORDER.read_text("utf-8")


def open_templates() -> Templates:
    """What new projects and models are written from."""
    from edgeferry.adapters.templates import CopierTemplates

    return CopierTemplates()


def read_given_model(path: Path, sample: Path | None, name: str, target: str) -> GivenModel:
    """What is to be known of a model that is there; nothing of it is loaded. UsageError or RefusedError."""
    from edgeferry.adapters.given_model import read_given

    return read_given(path, sample, name, target)


def open_folder(root: Path) -> TextFolder:
    """A folder of text files."""
    from edgeferry.adapters.text_folder import LocalTextFolder

    return LocalTextFolder(root)


class _Later:
    """Stands in for an adapter until its first use."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._built: Any = None
        self._building = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._building:
            if self._built is None:
                self._built = self._build()
        return getattr(self._built, name)
