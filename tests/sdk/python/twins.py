"""Twins of devices and modules, by azure-iot-hub."""

from azure.iot.hub.models import Twin, TwinProperties
from harness import check, refusal, same


def desired(**values):
    return Twin(properties=TwinProperties(desired=values))


def plain(section):
    """The values of a section without what the hub adds."""
    return {name: value for name, value in section.items() if not name.startswith("$")}


@check
def a_new_twin_is_empty(place):
    twin = place.registry.get_twin(place.device().device_id)
    same((twin.tags or {}, plain(twin.properties.desired), plain(twin.properties.reported)), ({}, {}, {}))
    same((twin.properties.desired["$version"], twin.properties.reported["$version"]), (1, 1))
    same((twin.status, twin.connection_state, twin.module_id), ("enabled", "Disconnected", None))


@check
def a_twin_carries_both_etags_of_its_device(place):
    made = place.device()
    twin = place.registry.get_twin(made.device_id)
    same(twin.device_etag, made.etag)
    same(bool(twin.etag), True)


@check
def tags_are_merged(place):
    name = place.device().device_id
    place.registry.update_twin(name, Twin(tags={"a": {"b": 1, "c": 2}, "d": "x"}), "*")
    said = place.registry.update_twin(name, Twin(tags={"a": {"b": 3, "c": None}}), "*")
    same(said.tags, {"a": {"b": 3}, "d": "x"})
    same(place.registry.get_twin(name).tags, {"a": {"b": 3}, "d": "x"})


@check
def tags_leave_desired_as_it_was(place):
    name = place.device().device_id
    said = place.registry.update_twin(name, Twin(tags={"a": 1}), "*")
    same(said.properties.desired["$version"], 1)


@check
def desired_is_merged_and_counted(place):
    name = place.device().device_id
    place.registry.update_twin(name, desired(a={"b": 1, "c": 2}, d="x"), "*")
    said = place.registry.update_twin(name, desired(a={"c": 4}), "*")
    same(plain(said.properties.desired), {"a": {"b": 1, "c": 4}, "d": "x"})
    same(said.properties.desired["$version"], 3)


@check
def desired_null_deletes(place):
    name = place.device().device_id
    place.registry.update_twin(name, desired(a={"b": 1, "c": 2}, d="x"), "*")
    said = place.registry.update_twin(name, desired(a={"b": None}, d=None), "*")
    same(plain(said.properties.desired), {"a": {"c": 2}})
    same("d" in said.properties.desired["$metadata"], False)


@check
def desired_metadata_say_when_and_which_version(place):
    name = place.device().device_id
    said = place.registry.update_twin(name, desired(a={"b": 1}), "*")
    data = said.properties.desired["$metadata"]
    same(data["a"]["b"]["$lastUpdatedVersion"], 2)
    same(data["a"]["b"]["$lastUpdated"] <= data["$lastUpdated"], True)


@check
def desired_takes_every_kind_of_value(place):
    name = place.device().device_id
    values = {"text": "Ünïcödé ✓ \"'\\", "real": 1.5, "big": 2**52, "no": False, "list": [1, "a", {"b": [2]}]}
    place.registry.update_twin(name, desired(**values), "*")
    same(plain(place.registry.get_twin(name).properties.desired), values)


@check
def a_twin_is_replaced(place):
    name = place.device().device_id
    place.registry.update_twin(name, Twin(tags={"a": 1}, properties=TwinProperties(desired={"b": 1})), "*")
    new = Twin(tags={"c": 2}, properties=TwinProperties(desired={"d": {"e": 2}}))
    said = place.registry.replace_twin(name, new, "*")
    same((said.tags, plain(said.properties.desired)), ({"c": 2}, {"d": {"e": 2}}))
    same(plain(place.registry.get_twin(name).properties.desired), {"d": {"e": 2}})


@check
def a_twins_etag_lets_one_writer_win(place):
    name = place.device().device_id
    seen = place.registry.get_twin(name)
    said = place.registry.update_twin(name, Twin(tags={"by": "first"}), seen.etag)
    same(said.etag != seen.etag, True)
    call = place.registry.update_twin
    same(refusal(call, name, Twin(tags={"by": "second"}), seen.etag), (412, "PreconditionFailed"))
    same(refusal(place.registry.replace_twin, name, Twin(tags={}), seen.etag), (412, "PreconditionFailed"))
    same(call(name, Twin(tags={"by": "third"}), said.etag).tags, {"by": "third"})


@check
def a_device_change_leaves_the_twins_etag(place):
    made = place.device()
    twin = place.registry.get_twin(made.device_id)
    keys = made.authentication.symmetric_key
    place.registry.update_device_with_sas(
        made.device_id, "*", keys.primary_key, keys.secondary_key, "disabled"
    )
    said = place.registry.update_twin(made.device_id, Twin(tags={"a": 1}), twin.etag)
    same((said.tags, said.status), ({"a": 1}, "disabled"))


@check
def a_service_cannot_write_reported(place):
    name = place.device().device_id
    call = place.registry.update_twin
    try:
        call(name, Twin(properties=TwinProperties(reported={"a": 1})), "*")
    except Exception as error:  # noqa: BLE001  refused or overlooked, but never written
        same(getattr(getattr(error, "response", None), "status_code", None), 400)
    same(plain(place.registry.get_twin(name).properties.reported), {})


@check
def tags_over_8_kb_are_refused(place):
    name = place.device().device_id
    big = {f"k{n}": "x" * 1000 for n in range(9)}
    status, _ = refusal(place.registry.update_twin, name, Twin(tags=big), "*")
    same(status in (400, 413), True)
    same(place.registry.get_twin(name).tags or {}, {})


@check
def desired_over_32_kb_is_refused(place):
    name = place.device().device_id
    big = {f"k{n}": "x" * 3000 for n in range(12)}
    status, _ = refusal(place.registry.update_twin, name, desired(**big), "*")
    same(status in (400, 413), True)
    same(place.registry.get_twin(name).properties.desired["$version"], 1)


@check
def desired_deeper_than_10_is_refused(place):
    deep = 1
    for _ in range(11):
        deep = {"a": deep}
    status, _ = refusal(place.registry.update_twin, place.device().device_id, desired(a=deep), "*")
    same(status, 400)


@check
def names_with_a_dot_are_refused(place):
    name = place.device().device_id
    same(refusal(place.registry.update_twin, name, desired(**{"a.b": 1}), "*")[0], 400)


@check
def a_twin_of_nothing_is_not_found(place):
    same(refusal(place.registry.get_twin, place.name()), (404, "DeviceNotFound"))
    same(refusal(place.registry.update_twin, place.name(), Twin(tags={}), "*")[0], 404)


@check
def a_module_twin_is_its_own(place):
    made = place.module(place.device().device_id)
    said = place.registry.update_module_twin(made.device_id, "m", desired(a=1), "*")
    same((said.module_id, plain(said.properties.desired)), ("m", {"a": 1}))
    same(plain(place.registry.get_twin(made.device_id).properties.desired), {})
    shown = place.registry.get_module_twin(made.device_id, "m")
    same((shown.device_id, shown.module_id, shown.properties.desired["a"]), (made.device_id, "m", 1))


@check
def a_module_twin_is_replaced(place):
    made = place.module(place.device().device_id)
    place.registry.update_module_twin(made.device_id, "m", desired(a=1, b=2), "*")
    said = place.registry.replace_module_twin(made.device_id, "m", desired(b=3), "*")
    same(plain(said.properties.desired), {"b": 3})


@check
def a_module_twins_etag_lets_one_writer_win(place):
    made = place.module(place.device().device_id)
    seen = place.registry.get_module_twin(made.device_id, "m")
    place.registry.update_module_twin(made.device_id, "m", desired(a=1), seen.etag)
    call = place.registry.update_module_twin
    same(refusal(call, made.device_id, "m", desired(a=2), seen.etag), (412, "PreconditionFailed"))


@check
def a_module_twin_of_nothing_is_not_found(place):
    same(refusal(place.registry.get_module_twin, place.device().device_id, "m"), (404, "ModuleNotFound"))
