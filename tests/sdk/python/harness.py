"""What all checks share: how one is declared, where the hub is, what it makes there and how it is refused.

A check is a function that compares what Microsoft's client got with what it must get. Names of functions are
names of checks; the tests read them from the source.
"""

import contextlib
import itertools
import json
import queue
import sys
import time
from dataclasses import dataclass, field

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification
from msrest.exceptions import HttpOperationError

WAIT_S = 30
CHECKS = {}


def check(function, here_only=False):
    """Declares a check."""
    name = function.__name__
    if name in CHECKS:
        raise ValueError(f"two checks are named {name}")
    function.here_only = here_only
    CHECKS[name] = function
    return function


def check_here(function):
    """Declares a check of something that only our hub has or promises."""
    return check(function, here_only=True)


def same(found, wanted):
    """Fails, showing both, unless they are equal."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def refusal(call, *arguments, **options):
    """(status, name of the error) of a call that the hub must refuse."""
    try:
        call(*arguments, **options)
    except HttpOperationError as error:
        return error.response.status_code, error.response.headers.get("iothub-errorcode")
    raise AssertionError(f"{call.__name__} was not refused")


def raised(kind, call, *arguments):
    """The error of that class that the call must raise."""
    try:
        call(*arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call.__name__} raised nothing")


def take(events, wanted=lambda _: True):
    """The next event that is wanted; fails when none comes."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            event = events.get(timeout=max(0.01, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"nothing that is wanted came in {WAIT_S} s") from None
        if wanted(event):
            return event


def becomes(ask, wanted):
    """Fails unless what `ask` gives equals `wanted` in time."""
    deadline = time.monotonic() + WAIT_S
    while (found := ask()) != wanted:
        if time.monotonic() > deadline:
            raise AssertionError(f"found {found!r} to the end, wanted {wanted!r}")
        time.sleep(0.05)


@dataclass
class Place:
    """The hub: its service connection string, its CA file and device gateway where it is ours, the prefix
    that every id here carries, and deployments as edgeferry and others write them."""

    service: str
    prefix: str
    ca_file: str | None = None
    gateway: str | None = None
    deployments: list = ()
    numbers: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self):
        self.registry = IoTHubRegistryManager.from_connection_string(self.service)
        self.manager = IoTHubConfigurationManager.from_connection_string(self.service)
        self.host = dict(part.split("=", 1) for part in self.service.split(";"))["HostName"]
        self.ca = None
        if self.ca_file:
            with open(self.ca_file) as file:
                self.ca = file.read()

    @property
    def is_here(self):
        return self.gateway is not None

    def name(self):
        """An id that nothing has."""
        return f"{self.prefix}-{next(self.numbers)}"

    def device(self, edge=False, status="enabled"):
        """A new device."""
        return self.registry.create_device_with_sas(self.name(), "", "", status, iot_edge=edge)

    def module(self, device_id, name="m"):
        """A new module of it."""
        return self.registry.create_module_with_sas(device_id, name, "", "", "")

    def rows(self, text, **options):
        """All rows of a query."""
        page = self.registry.query_iot_hub(QuerySpecification(query=text), **options)
        rows = page.items
        while page.continuation_token:
            page = self.registry.query_iot_hub(
                QuerySpecification(query=text), page.continuation_token, **options
            )
            rows += page.items
        return rows

    def settles(self, ask, wanted):
        """Fails unless `ask` gives `wanted`: here at once, on Azure, whose queries lag, in time."""
        if self.is_here:
            same(ask(), wanted)
        else:
            becomes(ask, wanted)

    def connection(self, identity, key=None):
        """The connection string of a device or module, by its primary key or the given one."""
        parts = [f"HostName={self.host}", f"DeviceId={identity.device_id}"]
        if getattr(identity, "module_id", None):
            parts.append(f"ModuleId={identity.module_id}")
        parts.append(f"SharedAccessKey={key or identity.authentication.symmetric_key.primary_key}")
        if self.gateway:
            parts.append(f"GatewayHostName={self.gateway}")
        return ";".join(parts)

    def options(self, **more):
        """Options for a device client: the CA where it is ours, an impatient retry."""
        return {"server_verification_cert": self.ca, "connection_retry_interval": 1, **more}

    def client(self, identity, key=None, **more):
        """A client for it, not connected."""
        kind = IoTHubModuleClient if getattr(identity, "module_id", None) else IoTHubDeviceClient
        return kind.create_from_connection_string(self.connection(identity, key), **self.options(**more))

    @contextlib.contextmanager
    def connected(self, identity, key=None, **more):
        """A client for it, connected until the end."""
        with closing(self.client(identity, key, **more)) as client:
            client.connect()
            yield client

    @contextlib.contextmanager
    def answering(self, identity):
        """A client for it that answers methods."""
        with self.connected(identity) as client:
            answer_methods(client)
            yield client

    def sweep(self):
        """Everything that carries the prefix is gone."""
        for device in self.registry.get_devices(1000):
            if device.device_id.startswith(self.prefix):
                self.registry.delete_device(device.device_id)
        for configuration in self.manager.get_configurations(100):
            if configuration.id.startswith(self.prefix):
                self.manager.delete_configuration(configuration.id)


@contextlib.contextmanager
def closing(client):
    """Shuts the client down at the end."""
    try:
        yield client
    finally:
        client.shutdown()


def answer_methods(client):
    """`echo` gives the payload back, `teapot` 418, `nothing` no payload, `silent` never an answer; any other
    name is 404."""
    answers = {
        "echo": lambda payload: (200, {"echo": payload}),
        "teapot": lambda _: (418, {"short": "stout"}),
        "nothing": lambda _: (204, None),
    }

    def on_method(request):
        if request.name == "silent":
            return
        status, payload = answers.get(request.name, lambda _: (404, {"unknown": request.name}))(
            request.payload
        )
        client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))

    client.on_method_request_received = on_method


def patches(client):
    """A queue of the desired patches that the client is told from now on."""
    told = queue.Queue()
    client.on_twin_desired_properties_patch_received = told.put
    return told


def say(**facts):
    """One JSON line to the tests."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def ask(what, **facts):
    """What the tests give when they have done it: `kill` or `start` the hub, read a `device`'s `messages`."""
    say(ask=what, **facts)
    said = json.loads(sys.stdin.readline())
    if "error" in said:
        raise AssertionError(said["error"])
    return said
