"""Every route of the service REST: what it is, who may ask, who answers. There is no other list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.responses import Response

from edgeferry.hub.access import REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT
from edgeferry.hub.rest.call import Call, Handler, Route, ok
from edgeferry.hub.rest.configurations import ConfigurationHandlers
from edgeferry.hub.rest.identities import IdentityHandlers
from edgeferry.hub.rest.messages import MessageHandlers
from edgeferry.hub.rest.queries import QueryHandlers
from edgeferry.hub.rest.twins import TwinHandlers
from edgeferry.wire.hub import Json
from edgeferry.wire.openapi import Operation, render_openapi

_DEVICE, _MODULE = "/devices/{device}", "/devices/{device}/modules/{module}"
_TWINS = (("/twins/{device}", "device"), ("/twins/{device}/modules/{module}", "module"))
_CONFIGURATION = "/configurations/{configuration}"
_NO_DEVICE = ("DeviceNotFound",)
_NO_MODULE = ("DeviceNotFound", "ModuleNotFound")
_IF_MATCH = ("if-match",)

ABSENT = (
    ("/jobs", "jobs"),
    ("/messages/serviceBound/feedback", "feedback on cloud-to-device messages"),
    ("/messages/serviceBound/filenotifications", "notifications of uploaded files"),
    ("/devices/{device}/files", "uploads of files"),
    ("/devices/{device}/messages", "messages of devices over HTTPS"),
    ("/digitaltwins", "digital twins"),
)
"""What IoT Hub has at these paths and below them, and this hub has not."""


def list_routes(
    identities: IdentityHandlers,
    twins: TwinHandlers,
    configurations: ConfigurationHandlers,
    queries: QueryHandlers,
    messages: MessageHandlers,
    healthy: Callable[[], bool],
    version: str,
) -> Sequence[Route]:
    """The routes. `version` is the program's."""
    routes = [
        *_list_identity_routes(identities),
        *_list_twin_routes(twins),
        *_list_configuration_routes(configurations),
        *_list_query_routes(queries),
        Route(_MESSAGES, messages.read),
        Route(_HEALTH, _tell_health(healthy)),
    ]
    document = render_openapi([*(route.operation for route in routes), _DESCRIPTION], version)
    return [*routes, Route(_DESCRIPTION, _tell(document))]


_MESSAGES = Operation(
    "GET",
    "/messages/events",
    "Messages from devices, the oldest first, after a cursor; Azure has Event Hubs for them",
    SERVICE_CONNECT,
    answer="Messages",
    parameters=("after", "limit", "wait", "of-device"),
)
_HEALTH = Operation(
    "GET", "/health", "Whether the hub serves", None, answer="Health", refusals=("ServiceUnavailable",)
)
_DESCRIPTION = Operation("GET", "/openapi.json", "This description", None, answer="Description")


def _tell_health(healthy: Callable[[], bool]) -> Handler:
    async def tell(_call: Call) -> Response:
        ready = healthy()
        word = "ok" if ready else "not ready"
        return ok({"status": word, "live": True, "ready": ready}, status=200 if ready else 503)

    return tell


def _tell(document: Json) -> Handler:
    async def tell(_call: Call) -> Response:
        return ok(document)

    return tell


def _list_identity_routes(identities: IdentityHandlers) -> Sequence[Route]:
    return [
        Route(
            Operation(
                "GET", "/devices", "The devices", REGISTRY_READ, answer="Device[]", parameters=("top",)
            ),
            identities.list_devices,
        ),
        Route(
            Operation(
                "POST",
                "/devices",
                "Up to 100 devices or modules created, updated or deleted, each by its importMode",
                REGISTRY_WRITE,
                body="BulkEntry[]",
                answer="BulkResult",
                refusals=("TooManyDevices",),
            ),
            identities.change_many,
        ),
        Route(
            Operation(
                "POST",
                "/devices/keys/regenerate",
                "New keys for up to 100 devices or modules",
                REGISTRY_WRITE,
                body="KeysRequest",
                answer="KeysResult",
                refusals=("TooManyDevices",),
            ),
            identities.regenerate_keys,
        ),
        Route(
            Operation(
                "GET",
                _DEVICE,
                "The device, keys included",
                REGISTRY_READ,
                answer="Device",
                refusals=_NO_DEVICE,
                own="device",
            ),
            identities.show,
        ),
        Route(
            Operation(
                "PUT",
                _DEVICE,
                "The device created, or updated with If-Match",
                REGISTRY_WRITE,
                body="DeviceWrite",
                answer="Device",
                parameters=_IF_MATCH,
                refusals=(*_NO_DEVICE, "DeviceAlreadyExists", "PreconditionFailed"),
            ),
            identities.put_device,
        ),
        Route(
            Operation(
                "DELETE",
                _DEVICE,
                "The device and its modules deleted",
                REGISTRY_WRITE,
                parameters=_IF_MATCH,
                refusals=(*_NO_DEVICE, "PreconditionFailed"),
            ),
            identities.delete,
        ),
        Route(
            Operation(
                "DELETE",
                f"{_DEVICE}/commands",
                "Waiting cloud-to-device messages dropped; there are none",
                SERVICE_CONNECT,
                answer="PurgeResult",
                refusals=_NO_DEVICE,
            ),
            identities.purge_commands,
        ),
        Route(
            Operation(
                "GET",
                f"{_DEVICE}/modules",
                "The device's modules",
                REGISTRY_READ,
                answer="Module[]",
                refusals=_NO_DEVICE,
                own="device",
            ),
            identities.list_modules,
        ),
        Route(
            Operation(
                "GET",
                _MODULE,
                "The module, keys included",
                REGISTRY_READ,
                answer="Module",
                refusals=_NO_MODULE,
                own="device",
            ),
            identities.show,
        ),
        Route(
            Operation(
                "PUT",
                _MODULE,
                "The module created, or updated with If-Match",
                REGISTRY_WRITE,
                body="ModuleWrite",
                answer="Module",
                parameters=_IF_MATCH,
                refusals=(
                    *_NO_MODULE,
                    "ModuleAlreadyExistsOnDevice",
                    "PreconditionFailed",
                    "TooManyModulesOnDevice",
                ),
                own="device",
            ),
            identities.put_module,
        ),
        Route(
            Operation(
                "DELETE",
                _MODULE,
                "The module deleted",
                REGISTRY_WRITE,
                parameters=_IF_MATCH,
                refusals=(*_NO_MODULE, "PreconditionFailed", "SystemModuleModifyUnauthorizedAccess"),
                own="device",
            ),
            identities.delete,
        ),
    ]


def _list_twin_routes(twins: TwinHandlers) -> Sequence[Route]:
    routes: list[Route] = []
    for path, what in _TWINS:
        missing = _NO_DEVICE if what == "device" else _NO_MODULE
        for method, summary, handler in (
            ("PATCH", "tags and desired properties merged", twins.patch),
            ("PUT", "tags or desired properties replaced, whichever are given", twins.replace),
        ):
            write = Operation(
                method,
                path,
                f"The {what}'s twin with {summary}",
                SERVICE_CONNECT,
                body="TwinWrite",
                answer="Twin",
                parameters=_IF_MATCH,
                refusals=(*missing, "PreconditionFailed"),
            )
            routes.append(Route(write, handler))
        read = Operation("GET", path, f"The {what}'s twin", SERVICE_CONNECT, answer="Twin", refusals=missing)
        call = Operation(
            "POST",
            f"{path}/methods",
            f"What the {what} answers to a direct method",
            SERVICE_CONNECT,
            body="MethodRequest",
            answer="MethodResult",
            parameters=("edge-module",),
            refusals=(*missing, "DeviceNotOnline", "DeviceConnectionClosedRemotely", "GatewayTimeout"),
            own="module",
        )
        routes += [Route(read, twins.show), Route(call, twins.invoke)]
    return routes


def _list_configuration_routes(configurations: ConfigurationHandlers) -> Sequence[Route]:
    return [
        Route(
            Operation(
                "GET",
                "/configurations",
                "The deployments with their metrics",
                REGISTRY_READ,
                answer="Configuration[]",
                parameters=("top",),
            ),
            configurations.list_all,
        ),
        Route(
            Operation(
                "POST",
                "/configurations/testQueries",
                "What is wrong with a target condition and with metric queries",
                REGISTRY_READ,
                body="QueriesToTest",
                answer="QueryErrors",
            ),
            configurations.test_queries,
        ),
        Route(
            Operation(
                "GET",
                _CONFIGURATION,
                "The deployment with its metrics",
                REGISTRY_READ,
                answer="Configuration",
                refusals=("ConfigurationNotFound",),
            ),
            configurations.show,
        ),
        Route(
            Operation(
                "PUT",
                _CONFIGURATION,
                "The deployment created, or updated with If-Match; its content cannot change",
                REGISTRY_WRITE,
                body="ConfigurationWrite",
                answer="Configuration",
                parameters=_IF_MATCH,
                refusals=(
                    "CannotModifyImmutableConfigurationContent",
                    "ConfigurationAlreadyExists",
                    "ConfigurationCountLimitExceeded",
                    "ConfigurationNotFound",
                    "InvalidConfigurationContent",
                    "InvalidConfigurationCustomMetricsQuery",
                    "InvalidConfigurationTargetCondition",
                    "PreconditionFailed",
                ),
            ),
            configurations.put,
        ),
        Route(
            Operation(
                "DELETE",
                _CONFIGURATION,
                "The deployment deleted",
                REGISTRY_WRITE,
                parameters=_IF_MATCH,
                refusals=("ConfigurationNotFound", "PreconditionFailed"),
            ),
            configurations.delete,
        ),
        Route(
            Operation(
                "POST",
                f"{_DEVICE}/applyConfigurationContent",
                "The modules' desired properties replaced by the content's, modules created and removed",
                REGISTRY_WRITE,
                body="Content",
                refusals=(*_NO_DEVICE, "InvalidConfigurationContent"),
            ),
            configurations.apply_content,
        ),
    ]


def _list_query_routes(queries: QueryHandlers) -> Sequence[Route]:
    return [
        Route(
            Operation(
                "POST",
                "/devices/query",
                "A page of the query's rows",
                SERVICE_CONNECT,
                body="Query",
                answer="Row[]",
                parameters=("max-item-count", "continuation"),
            ),
            queries.query,
        ),
        Route(
            Operation(
                "GET",
                "/statistics/devices",
                "How many devices there are",
                REGISTRY_READ,
                answer="RegistryStatistics",
            ),
            queries.registry_statistics,
        ),
        Route(
            Operation(
                "GET",
                "/statistics/service",
                "How many devices are connected",
                REGISTRY_READ,
                answer="ServiceStatistics",
            ),
            queries.service_statistics,
        ),
    ]
