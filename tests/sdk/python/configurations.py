"""Automatic deployments, by azure-iot-hub."""

from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Twin,
)
from harness import check, check_here, refusal, same


def agent(*modules):
    """`$edgeAgent`'s desired properties with these modules."""
    entry = {"type": "docker", "status": "running", "restartPolicy": "always", "version": "1.0"}
    image = {"settings": {"image": "example.com/m:1", "createOptions": "{}"}}
    system = {"type": "docker", "settings": {"image": "example.com/s:1", "createOptions": "{}"}}
    return {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": {
            "edgeAgent": system,
            "edgeHub": {**system, "status": "running", "restartPolicy": "always"},
        },
        "modules": {name: {**entry, **image} for name in modules},
    }


def base(*modules):
    """A whole deployment's content."""
    hub = {"schemaVersion": "1.1", "routes": {}, "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}}
    return ConfigurationContent(
        modules_content={
            "$edgeAgent": {"properties.desired": agent(*modules)},
            "$edgeHub": {"properties.desired": hub},
        }
    )


def configuration(place, content=None, **more):
    """A configuration that applies to no device unless told so."""
    members = {"schema_version": "2.0", "target_condition": "", "priority": 1, **more}
    return Configuration(id=place.name(), content=content or base("m"), **members)


def edge_device(place):
    """(its id, the condition that it alone fulfils)"""
    name = place.device(edge=True).device_id
    place.registry.update_twin(name, Twin(tags={"only": name}), "*")
    return name, f"tags.only = '{name}'"


@check
def a_configuration_is_shown_as_it_was_made(place):
    wanted = configuration(place, labels={"by": "us"}, target_condition="tags.a = 'b'", priority=7)
    made = place.manager.create_configuration(wanted)
    shown = place.manager.get_configuration(wanted.id)
    for one in (made, shown):
        same((one.id, one.labels, one.priority), (wanted.id, {"by": "us"}, 7))
        same((one.target_condition, one.schema_version), ("tags.a = 'b'", "2.0"))
        same(one.content.modules_content, wanted.content.modules_content)
    same(shown.etag, made.etag)
    same(shown.created_time_utc, made.created_time_utc)


@check
def a_configurations_name_is_taken_once(place):
    wanted = configuration(place)
    place.manager.create_configuration(wanted)
    same(refusal(place.manager.create_configuration, wanted)[0], 409)


@check
def a_configuration_that_is_not_there_is_not_found(place):
    same(refusal(place.manager.get_configuration, place.name()), (404, "ConfigurationNotFound"))
    same(refusal(place.manager.delete_configuration, place.name())[0], 404)


@check
def configurations_are_listed_up_to_a_number(place):
    made = {place.manager.create_configuration(configuration(place)).id for _ in range(2)}
    listed = [one.id for one in place.manager.get_configurations(100)]
    same(made <= set(listed), True)
    same(len(place.manager.get_configurations(1)), 1)


@check
def a_configuration_is_updated_with_its_etag(place):
    made = place.manager.create_configuration(configuration(place))
    old = made.etag
    made.priority, made.labels, made.target_condition = 9, {"a": "b"}, "tags.x = 1"
    now = place.manager.update_configuration(made, f'"{old}"')
    same((now.priority, now.labels, now.target_condition), (9, {"a": "b"}, "tags.x = 1"))
    same(now.etag != old, True)
    same(refusal(place.manager.update_configuration, made, f'"{old}"'), (412, "PreconditionFailed"))


@check
def a_configuration_is_updated_with_a_star(place):
    made = place.manager.create_configuration(configuration(place))
    made.priority = 4
    place.manager.update_configuration(made, "*")
    same(place.manager.get_configuration(made.id).priority, 4)


@check
def a_configurations_content_stays(place):
    made = place.manager.create_configuration(configuration(place))
    made.content = base("other")
    same(refusal(place.manager.update_configuration, made, "*")[0], 400)
    content = place.manager.get_configuration(made.id).content.modules_content
    same(list(content["$edgeAgent"]["properties.desired"]["modules"]), ["m"])


@check
def a_configuration_is_deleted_with_its_etag(place):
    made = place.manager.create_configuration(configuration(place))
    old = made.etag
    made.priority = 2
    now = place.manager.update_configuration(made, "*")
    call = place.manager.delete_configuration
    same(refusal(call, made.id, f'"{old}"')[0], 412)
    call(made.id, f'"{now.etag}"')
    same(refusal(place.manager.get_configuration, made.id)[0], 404)


@check
def a_wrong_condition_is_refused(place):
    wrong = configuration(place, target_condition="tags.a = ")
    same(refusal(place.manager.create_configuration, wrong)[0], 400)
    same(refusal(place.manager.get_configuration, wrong.id)[0], 404)


@check
def a_wrong_metric_is_refused(place):
    metrics = ConfigurationMetrics(queries={"broken": "SELECT deviceId FROM"})
    same(refusal(place.manager.create_configuration, configuration(place, metrics=metrics))[0], 400)


@check
def queries_are_tested(place):
    said = place.manager.test_configuration_queries(
        ConfigurationQueriesTestInput(
            target_condition="tags.a = 'b'", custom_metric_queries={"n": "SELECT deviceId FROM devices"}
        )
    )
    same((said.target_condition_error, (said.custom_metric_query_errors or {}).get("n")), (None, None))


@check
def tested_queries_come_back_with_their_errors(place):
    said = place.manager.test_configuration_queries(
        ConfigurationQueriesTestInput(
            target_condition="tags.a = ", custom_metric_queries={"n": "SELECT deviceId FROM"}
        )
    )
    same(bool(said.target_condition_error), True)
    same(bool(said.custom_metric_query_errors["n"]), True)


@check
def content_is_applied_to_one_device(place):
    name = place.device(edge=True).device_id
    place.manager.apply_configuration_on_edge_device(name, base("a", "b"))
    names = {one.module_id for one in place.registry.get_modules(name)}
    same(names, {"$edgeAgent", "$edgeHub", "a", "b"})
    desired = place.registry.get_module_twin(name, "$edgeAgent").properties.desired
    same(sorted(desired["modules"]), ["a", "b"])
    same(place.registry.get_module_twin(name, "$edgeHub").properties.desired["schemaVersion"], "1.1")


@check
def content_applied_anew_replaces_what_was_there(place):
    name = place.device(edge=True).device_id
    place.manager.apply_configuration_on_edge_device(name, base("a", "b"))
    place.manager.apply_configuration_on_edge_device(name, base("b", "c"))
    names = {one.module_id for one in place.registry.get_modules(name)}
    same(names, {"$edgeAgent", "$edgeHub", "b", "c"})
    desired = place.registry.get_module_twin(name, "$edgeAgent").properties.desired
    same(sorted(desired["modules"]), ["b", "c"])


@check
def content_sets_a_modules_own_properties(place):
    name = place.device(edge=True).device_id
    content = base("m")
    content.modules_content["m"] = {"properties.desired": {"speed": 3}}
    place.manager.apply_configuration_on_edge_device(name, content)
    same(place.registry.get_module_twin(name, "m").properties.desired["speed"], 3)


@check
def content_for_no_device_is_not_found(place):
    call = place.manager.apply_configuration_on_edge_device
    same(refusal(call, place.name(), base("m"))[0], 404)


@check_here
def a_deployment_reaches_its_device_at_once(place):
    name, condition = edge_device(place)
    made = place.manager.create_configuration(configuration(place, target_condition=condition))
    same(made.system_metrics.results["targetedCount"], 1)
    same(made.system_metrics.results["appliedCount"], 1)
    same(place.registry.get_module(name, "m").managed_by.lower(), "iotedge")
    twin = place.registry.get_module_twin(name, "$edgeAgent")
    same(twin.properties.desired["modules"]["m"]["configuration"]["id"], made.id)


@check_here
def a_layer_is_laid_over_the_base(place):
    name, condition = edge_device(place)
    layer = ConfigurationContent(
        modules_content={
            "$edgeAgent": {"properties.desired.modules.extra": agent("extra")["modules"]["extra"]},
            "extra": {"properties.desired.limits.low": 1},
        }
    )
    place.manager.create_configuration(configuration(place, target_condition=condition))
    over = configuration(place, layer, target_condition=condition, priority=5)
    made = place.manager.create_configuration(over)
    modules = place.registry.get_module_twin(name, "$edgeAgent").properties.desired["modules"]
    same(sorted(modules), ["extra", "m"])
    same(modules["extra"]["configuration"]["id"], made.id)
    same(place.registry.get_module_twin(name, "extra").properties.desired["limits"], {"low": 1})
    place.manager.delete_configuration(made.id)
    modules = place.registry.get_module_twin(name, "$edgeAgent").properties.desired["modules"]
    same(sorted(modules), ["m"])


@check_here
def the_higher_priority_wins(place):
    name, condition = edge_device(place)
    place.manager.create_configuration(configuration(place, base("low"), target_condition=condition))
    high = configuration(place, base("high"), target_condition=condition, priority=2)
    high = place.manager.create_configuration(high)

    def modules():
        return sorted(place.registry.get_module_twin(name, "$edgeAgent").properties.desired["modules"])

    same(modules(), ["high"])
    high.priority = 0
    place.manager.update_configuration(high, "*")
    same(modules(), ["low"])


@check_here
def a_tag_brings_the_deployment(place):
    name = place.device(edge=True).device_id
    made = place.manager.create_configuration(configuration(place, target_condition=f"tags.site = '{name}'"))
    same(made.system_metrics.results["targetedCount"], 0)
    place.registry.update_twin(name, Twin(tags={"site": name}), "*")
    shown = place.manager.get_configuration(made.id)
    same(shown.system_metrics.results["targetedCount"], 1)
    same("m" in {one.module_id for one in place.registry.get_modules(name)}, True)


@check_here
def custom_metrics_are_counted(place):
    name, condition = edge_device(place)
    queries = {
        "mine": f"SELECT deviceId FROM devices WHERE {condition}",
        "none": f"SELECT deviceId FROM devices WHERE deviceId = '{name}x'",
    }
    metrics = ConfigurationMetrics(queries=queries)
    made = place.manager.create_configuration(configuration(place, metrics=metrics))
    same(made.metrics.queries, queries)
    same(made.metrics.results, {"mine": 1, "none": 0})


@check_here
def a_system_metrics_query_finds_the_device(place):
    name, condition = edge_device(place)
    made = place.manager.create_configuration(configuration(place, target_condition=condition))
    for metric in ("targetedCount", "appliedCount"):
        rows = place.rows(made.system_metrics.queries[metric])
        same([row.device_id for row in rows], [name])


@check_here
def what_edgeferry_and_others_write_is_deployed_together(place):
    name, condition = edge_device(place)
    for document in place.deployments:
        wanted = Configuration(
            id=f"{place.prefix}-{document['id']}",
            schema_version="2.0",
            labels=document.get("labels"),
            content=ConfigurationContent(modules_content=document["content"]["modulesContent"]),
            metrics=ConfigurationMetrics(queries=document.get("metrics", {}).get("queries")),
            target_condition=condition,
            priority=document["priority"],
        )
        made = place.manager.create_configuration(wanted)
        same((wanted.id, made.system_metrics.results["appliedCount"]), (wanted.id, 1))
    modules = place.registry.get_module_twin(name, "$edgeAgent").properties.desired["modules"]
    wanted = {"companion", "nyc_taxi"} | {"testmodule" for one in place.deployments if one["id"] == "nyc"}
    same(set(modules), wanted)
