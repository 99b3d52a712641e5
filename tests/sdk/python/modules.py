"""Module identities, by azure-iot-hub."""

from harness import check, refusal, same


def keys(identity):
    held = identity.authentication.symmetric_key
    return held.primary_key, held.secondary_key


@check
def a_new_module_gets_keys_that_are_not_its_devices(place):
    device = place.device()
    made = place.module(device.device_id)
    same((made.device_id, made.module_id), (device.device_id, "m"))
    same(len({*keys(made), *keys(device)}), 4)


@check
def a_module_is_shown_as_it_was_made(place):
    made = place.module(place.device().device_id)
    same(place.registry.get_module(made.device_id, "m").as_dict(), made.as_dict())


@check
def a_module_name_is_taken_once_on_a_device(place):
    made = place.module(place.device().device_id)
    same(refusal(place.module, made.device_id), (409, "ModuleAlreadyExistsOnDevice"))
    same(place.module(place.device().device_id).module_id, "m")


@check
def a_module_of_no_device_is_refused(place):
    same(refusal(place.module, place.name()), (404, "DeviceNotFound"))


@check
def a_module_that_is_not_there_is_not_found(place):
    same(refusal(place.registry.get_module, place.device().device_id, "m"), (404, "ModuleNotFound"))


@check
def modules_are_listed(place):
    device = place.device().device_id
    for name in ("a", "b"):
        place.module(device, name)
    same(sorted(one.module_id for one in place.registry.get_modules(device)), ["a", "b"])


@check
def a_module_is_updated_with_its_etag(place):
    made = place.module(place.device().device_id)
    call = place.registry.update_module_with_sas
    now = call(made.device_id, "m", "someone", made.etag, *keys(made))
    same((now.managed_by, now.etag != made.etag), ("someone", True))
    same(refusal(call, made.device_id, "m", "else", made.etag, *keys(made)), (412, "PreconditionFailed"))
    same(place.registry.get_module(made.device_id, "m").managed_by, "someone")


@check
def a_module_is_deleted_with_its_etag(place):
    made = place.module(place.device().device_id)
    now = place.registry.update_module_with_sas(made.device_id, "m", "x", "*", *keys(made))
    same(refusal(place.registry.delete_module, made.device_id, "m", made.etag), (412, "PreconditionFailed"))
    place.registry.delete_module(made.device_id, "m", now.etag)
    same(refusal(place.registry.get_module, made.device_id, "m"), (404, "ModuleNotFound"))


@check
def modules_go_with_their_device(place):
    made = place.module(place.device().device_id)
    place.registry.delete_device(made.device_id)
    place.registry.create_device_with_sas(made.device_id, "", "", "enabled")
    same(place.registry.get_modules(made.device_id), [])


@check
def the_hubs_own_modules_cannot_be_deleted(place):
    device = place.device(edge=True).device_id
    same(refusal(place.registry.delete_module, device, "$edgeAgent")[0] in (400, 401, 403), True)
    same(place.registry.get_module(device, "$edgeAgent").module_id, "$edgeAgent")
