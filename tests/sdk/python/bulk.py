"""Many devices in one call, by azure-iot-hub."""

import contextlib

from azure.iot.hub.models import AuthenticationMechanism, ExportImportDevice, SymmetricKey
from harness import check, refusal, same
from msrest.exceptions import HttpOperationError


def entry(name, mode, **more):
    keys = SymmetricKey(primary_key="", secondary_key="")
    more.setdefault("authentication", AuthenticationMechanism(type="sas", symmetric_key=keys))
    return ExportImportDevice(id=name, import_mode=mode, **{"status": "enabled", **more})


def send(place, *entries):
    return place.registry.bulk_create_or_update_devices(list(entries))


@check
def bulk_creates_devices(place):
    names = [place.name() for _ in range(3)]
    done = send(place, *(entry(name, "create") for name in names))
    same((done.is_successful, done.errors), (True, []))
    for name in names:
        made = place.registry.get_device(name)
        same(made.status, "enabled")
        same(bool(made.authentication.symmetric_key.primary_key), True)


@check
def bulk_creates_an_edge_device(place):
    name = place.name()
    done = send(place, entry(name, "create", capabilities={"iot_edge": True}))
    same(done.is_successful, True)
    same(place.registry.get_device(name).capabilities.iot_edge, True)
    same(len(place.registry.get_modules(name)), 2)


@check
def bulk_creates_with_tags_and_desired(place):
    name = place.name()
    more = {"tags": {"env": "bulk"}, "properties": {"desired": {"x": 1}}}
    same(send(place, entry(name, "createOrUpdate", **more)).is_successful, True)
    twin = place.registry.get_twin(name)
    same((twin.tags, twin.properties.desired["x"]), ({"env": "bulk"}, 1))


@check
def bulk_says_which_device_was_there_already(place):
    there, fresh = place.device().device_id, place.name()
    done = send(place, entry(there, "create"), entry(fresh, "create"))
    same(done.is_successful, False)
    [error] = done.errors
    same(error.device_id, there)
    same("DeviceAlreadyExists" in f"{error.error_code} {error.error_status}", True)
    same(place.registry.get_device(fresh).device_id, fresh)


@check
def bulk_updates_devices(place):
    made = [place.device() for _ in range(2)]
    done = send(place, *(entry(one.device_id, "update", status="disabled") for one in made))
    same(done.is_successful, True)
    same([place.registry.get_device(one.device_id).status for one in made], ["disabled", "disabled"])


@check
def bulk_updates_with_etags_refuse_an_old_one(place):
    made = place.device()
    keys = made.authentication.symmetric_key
    now = place.registry.update_device_with_sas(
        made.device_id, "*", keys.primary_key, keys.secondary_key, "enabled"
    )
    old = entry(made.device_id, "updateIfMatchETag", e_tag=made.etag, status="disabled")
    done = send(place, old)
    same((done.is_successful, [one.device_id for one in done.errors]), (False, [made.device_id]))
    same(place.registry.get_device(made.device_id).status, "enabled")
    new = entry(made.device_id, "updateIfMatchETag", e_tag=now.etag, status="disabled")
    same(send(place, new).is_successful, True)
    same(place.registry.get_device(made.device_id).status, "disabled")


@check
def bulk_deletes_devices(place):
    made = [place.device().device_id for _ in range(2)]
    same(send(place, *(entry(name, "delete") for name in made)).is_successful, True)
    for name in made:
        same(refusal(place.registry.get_device, name)[0], 404)


@check
def bulk_updates_a_twin(place):
    made = place.device().device_id
    change = ExportImportDevice(id=made, import_mode="updateTwin", tags={"by": "bulk"})
    same(send(place, change).is_successful, True)
    same(place.registry.get_twin(made).tags, {"by": "bulk"})


@check
def bulk_of_101_devices_is_refused(place):
    names = [place.name() for _ in range(101)]
    with contextlib.suppress(HttpOperationError):  # 413; the client takes a 400 for a result
        same(bool(send(place, *(entry(name, "create") for name in names)).is_successful), False)
    same(refusal(place.registry.get_device, names[0])[0], 404)
