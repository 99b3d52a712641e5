"""Devices, by azure-iot-hub."""

import base64

from harness import check, check_here, refusal, same

NEVER = 1


def keys(identity):
    held = identity.authentication.symmetric_key
    return held.primary_key, held.secondary_key


@check
def a_new_device_gets_two_keys_of_its_own(place):
    one, other = place.device(), place.device()
    found = [*keys(one), *keys(other)]
    same(len(set(found)), 4)
    same({len(base64.b64decode(key)) >= 16 for key in found}, {True})
    same(one.authentication.type, "sas")


@check
def a_new_device_is_enabled_and_has_never_been_here(place):
    made = place.device()
    same(
        (made.status, made.connection_state, made.cloud_to_device_message_count),
        ("enabled", "Disconnected", 0),
    )
    same(made.last_activity_time.year, NEVER)
    same(bool(made.etag and made.generation_id), True)


@check
def a_device_keeps_the_keys_it_is_given(place):
    given = [base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
    name = place.name()
    same(keys(place.registry.create_device_with_sas(name, *given, "enabled")), tuple(given))
    same(keys(place.registry.get_device(name)), tuple(given))


@check
def a_device_is_shown_as_it_was_made(place):
    made = place.device()
    shown = place.registry.get_device(made.device_id)
    same(shown.as_dict(), made.as_dict())


@check
def a_name_is_taken_once(place):
    made = place.device()
    call = place.registry.create_device_with_sas
    same(refusal(call, made.device_id, "", "", "enabled"), (409, "DeviceAlreadyExists"))


@check
def names_differ_by_case(place):
    name = place.name() + "-a"
    place.registry.create_device_with_sas(name, "", "", "enabled")
    other = place.registry.create_device_with_sas(name.upper(), "", "", "enabled")
    try:
        same(other.device_id, name.upper())
    finally:
        place.registry.delete_device(name.upper())


@check
def a_name_may_hold_special_characters(place):
    name = place.name() + "-._*!(),=@$'"
    place.registry.create_device_with_sas(name, "", "", "enabled")
    same(place.registry.get_device(name).device_id, name)
    same(place.registry.get_twin(name).device_id, name)
    place.registry.delete_device(name)
    same(refusal(place.registry.get_device, name), (404, "DeviceNotFound"))


@check
def a_name_with_a_space_is_refused(place):
    call = place.registry.create_device_with_sas
    same(refusal(call, place.name() + " x", "", "", "enabled")[0], 400)


@check
def a_name_of_129_characters_is_refused(place):
    call = place.registry.create_device_with_sas
    name = place.name().ljust(129, "x")
    same(refusal(call, name, "", "", "enabled")[0], 400)
    same(call(name[:128], "", "", "enabled").device_id, name[:128])


@check
def a_device_that_is_not_there_is_not_found(place):
    same(refusal(place.registry.get_device, place.name()), (404, "DeviceNotFound"))


@check
def an_update_with_the_etag_disables(place):
    made = place.device()
    now = place.registry.update_device_with_sas(
        made.device_id, made.etag, *keys(made), "disabled", status_reason="lost"
    )
    same((now.status, now.status_reason), ("disabled", "lost"))
    same(now.etag != made.etag, True)
    same(now.status_updated_time.year > NEVER, True)
    same(place.registry.get_device(made.device_id).status, "disabled")


@check
def an_update_with_an_old_etag_is_refused(place):
    made = place.device()
    call = place.registry.update_device_with_sas
    call(made.device_id, made.etag, *keys(made), "disabled")
    same(refusal(call, made.device_id, made.etag, *keys(made), "enabled"), (412, "PreconditionFailed"))
    same(place.registry.get_device(made.device_id).status, "disabled")


@check
def an_update_with_a_star_needs_no_etag(place):
    made = place.device(status="disabled")
    now = place.registry.update_device_with_sas(made.device_id, "*", *keys(made), "enabled")
    same((now.status, keys(now), now.generation_id), ("enabled", keys(made), made.generation_id))


@check
def an_update_gives_new_keys(place):
    made = place.device()
    given = [base64.b64encode(bytes([n]) * 32).decode() for n in (3, 4)]
    place.registry.update_device_with_sas(made.device_id, made.etag, *given, "enabled")
    same(keys(place.registry.get_device(made.device_id)), tuple(given))


@check
def an_update_of_nothing_is_not_found(place):
    call = place.registry.update_device_with_sas
    same(refusal(call, place.name(), "*", "", "", "enabled")[0], 404)


@check
def a_deleted_device_is_gone(place):
    made = place.device()
    place.registry.delete_device(made.device_id)
    same(refusal(place.registry.get_device, made.device_id), (404, "DeviceNotFound"))
    same(refusal(place.registry.get_twin, made.device_id), (404, "DeviceNotFound"))


@check
def deleting_with_an_old_etag_is_refused(place):
    made = place.device()
    now = place.registry.update_device_with_sas(made.device_id, "*", *keys(made), "disabled")
    call = place.registry.delete_device
    same(refusal(call, made.device_id, made.etag), (412, "PreconditionFailed"))
    call(made.device_id, now.etag)
    same(refusal(place.registry.get_device, made.device_id)[0], 404)


@check
def deleting_nothing_is_not_found(place):
    same(refusal(place.registry.delete_device, place.name()), (404, "DeviceNotFound"))


@check
def a_name_made_anew_is_another_generation(place):
    made = place.device()
    place.registry.delete_device(made.device_id)
    again = place.registry.create_device_with_sas(made.device_id, "", "", "enabled")
    same(again.generation_id != made.generation_id, True)
    same(set(keys(again)).isdisjoint(keys(made)), True)


@check
def an_edge_device_has_a_scope_and_its_two_modules(place):
    made = place.device(edge=True)
    same(made.capabilities.iot_edge, True)
    same(made.device_scope.startswith(f"ms-azure-iot-edge://{made.device_id}-"), True)
    names = [module.module_id for module in place.registry.get_modules(made.device_id)]
    same(sorted(names), ["$edgeAgent", "$edgeHub"])


@check
def a_leaf_device_is_no_edge_device_and_has_no_modules(place):
    made = place.device()
    same((made.capabilities.iot_edge, bool(made.device_scope)), (False, False))
    same(place.registry.get_modules(made.device_id), [])


@check
def a_leaf_device_may_have_an_edge_device_as_its_parent(place):
    parent = place.device(edge=True)
    name = place.name()
    made = place.registry.create_device_with_sas(
        name, "", "", "enabled", device_scope=parent.device_scope, parent_scopes=parent.device_scope
    )
    same((made.device_scope, made.parent_scopes), (parent.device_scope, [parent.device_scope]))
    same(place.registry.get_device(name).device_scope, parent.device_scope)


@check
def devices_are_listed_up_to_a_number(place):
    made = {place.device().device_id for _ in range(3)}
    listed = [device.device_id for device in place.registry.get_devices(1000)]
    same(made <= set(listed), True)
    same(len(listed), len(set(listed)))
    same(len(place.registry.get_devices(2)), 2)


@check
def statistics_count_devices(place):
    place.device()
    place.device(status="disabled")

    def holds():
        counted = place.registry.get_device_registry_statistics()
        return (
            counted.disabled_device_count >= 1
            and counted.enabled_device_count >= 1
            and counted.total_device_count == counted.enabled_device_count + counted.disabled_device_count
        )

    place.settles(holds, True)


@check_here
def statistics_follow_at_once(place):
    def counts():
        counted = place.registry.get_device_registry_statistics()
        return counted.total_device_count, counted.enabled_device_count, counted.disabled_device_count

    total, enabled, disabled = counts()
    place.device()
    made = place.device(status="disabled")
    same(counts(), (total + 2, enabled + 1, disabled + 1))
    place.registry.delete_device(made.device_id)
    same(counts(), (total + 1, enabled + 1, disabled))


@check_here
def service_statistics_count_who_is_connected(place):
    def count():
        return place.registry.get_service_statistics().connected_device_count

    before = count()
    with place.connected(place.device()):
        same(count(), before + 1)
    same(count(), before)


@check
def a_wrong_policy_key_is_unauthorised(place):
    wrong = place.service.rsplit("SharedAccessKey=", 1)[0] + "SharedAccessKey=" + "A" * 43 + "="
    stranger = type(place.registry).from_connection_string(wrong)
    same(refusal(stranger.get_devices), (401, "IotHubUnauthorizedAccess"))


@check
def a_policy_that_is_not_there_is_unauthorised(place):
    wrong = place.service.replace("SharedAccessKeyName=", "SharedAccessKeyName=not")
    stranger = type(place.registry).from_connection_string(wrong)
    same(refusal(stranger.get_devices), (401, "IotHubUnauthorizedAccess"))


@check
def nothing_is_left_after_a_sweep(place):
    made = place.device()
    place.sweep()
    same(refusal(place.registry.get_device, made.device_id), (404, "DeviceNotFound"))
    left = [device.device_id for device in place.registry.get_devices(1000)]
    same([name for name in left if name.startswith(place.prefix)], [])
