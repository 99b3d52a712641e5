"""The query language, by azure-iot-hub."""

from azure.iot.hub.models import QuerySpecification, Twin, TwinProperties
from harness import check, check_here, refusal, same


def made(place, count, **tags):
    """Ids of new devices that carry `tags.run` = a value of their own, and that value."""
    run = place.name()
    names = []
    for number in range(count):
        names.append(place.device().device_id)
        place.registry.update_twin(names[-1], Twin(tags={"run": run, "n": number, **tags}), "*")
    return names, run


def found(place, where):
    return sorted(twin.device_id for twin in place.rows(f"SELECT * FROM devices WHERE {where}"))


def raw(place, text):
    """Rows that are not twins, as the client gives them."""
    return [row.additional_properties or row.as_dict() for row in place.rows(text)]


@check
def a_tag_finds_its_devices(place):
    names, run = made(place, 2)
    made(place, 1)
    place.settles(lambda: found(place, f"tags.run = '{run}'"), sorted(names))


@check
def rows_are_whole_twins(place):
    [name], run = made(place, 1)
    place.settles(lambda: found(place, f"tags.run = '{run}'"), [name])
    [twin] = place.rows(f"SELECT * FROM devices WHERE tags.run = '{run}'")
    shown = place.registry.get_twin(name)
    same((twin.tags, twin.etag, twin.properties.desired), (shown.tags, shown.etag, shown.properties.desired))


@check
def the_first_page_says_its_kind(place):
    _, run = made(place, 1)
    specification = QuerySpecification(query=f"SELECT * FROM devices WHERE tags.run = '{run}'")
    page = place.registry.query_iot_hub(specification)
    same((page.type, page.continuation_token), ("Twin", None))


@check
def pages_have_the_size_asked_for(place):
    names, run = made(place, 5)
    text = f"SELECT * FROM devices WHERE tags.run = '{run}'"
    place.settles(lambda: len(place.rows(text)), 5)
    pages, token = [], None
    while True:
        page = place.registry.query_iot_hub(QuerySpecification(query=text), token, 2)
        pages.append([twin.device_id for twin in page.items])
        token = page.continuation_token
        if token is None:
            break
    same([len(page) for page in pages if page], [2, 2, 1])
    same(sorted(name for page in pages for name in page), sorted(names))


@check
def a_full_last_page_ends_the_query(place):
    names, run = made(place, 4)
    text = f"SELECT * FROM devices WHERE tags.run = '{run}'"
    place.settles(lambda: len(place.rows(text)), 4)
    rows = place.rows(text, max_item_count=2)
    same(sorted(twin.device_id for twin in rows), sorted(names))


@check
def nothing_found_is_an_empty_page(place):
    same(place.rows(f"SELECT * FROM devices WHERE tags.run = '{place.name()}'"), [])


@check
def and_or_and_brackets(place):
    names, run = made(place, 4)
    where = f"tags.run = '{run}' AND (tags.n = 0 OR tags.n > 2)"
    place.settles(lambda: found(place, where), sorted([names[0], names[3]]))


@check
def members_of_a_list(place):
    names, run = made(place, 3)
    place.settles(
        lambda: found(place, f"tags.run = '{run}' AND tags.n IN [0, 2]"), sorted([names[0], names[2]])
    )
    place.settles(lambda: found(place, f"tags.run = '{run}' AND tags.n NIN [0, 2]"), [names[1]])


@check
def what_is_not_defined_matches_only_is_defined(place):
    names, run = made(place, 2)
    place.registry.update_twin(names[0], Twin(tags={"extra": 1}), "*")
    place.settles(lambda: found(place, f"tags.run = '{run}' AND is_defined(tags.extra)"), [names[0]])
    same(found(place, f"tags.run = '{run}' AND NOT is_defined(tags.extra)"), [names[1]])
    same(found(place, f"tags.run = '{run}' AND tags.extra != 2"), [names[0]])


@check
def desired_properties_are_asked_for(place):
    names, run = made(place, 2)
    place.registry.update_twin(names[1], Twin(properties=TwinProperties(desired={"a": {"b": 7}})), "*")
    place.settles(lambda: found(place, f"tags.run = '{run}' AND properties.desired.a.b = 7"), [names[1]])


@check
def identity_members_are_asked_for(place):
    _, run = made(place, 1)
    edge, gone = place.device(edge=True).device_id, place.device(status="disabled").device_id
    for name in (edge, gone):
        place.registry.update_twin(name, Twin(tags={"run": run}), "*")
    place.settles(lambda: found(place, f"tags.run = '{run}' AND capabilities.iotEdge = true"), [edge])
    place.settles(lambda: found(place, f"tags.run = '{run}' AND status = 'disabled'"), [gone])
    place.settles(lambda: found(place, f"deviceId = '{gone}'"), [gone])


@check
def who_is_connected_is_asked_for(place):
    names, run = made(place, 2)
    device = place.registry.get_device(names[0])
    with place.connected(device):
        place.settles(
            lambda: found(place, f"tags.run = '{run}' AND connectionState = 'Connected'"), [names[0]]
        )


@check
def keywords_take_any_case(place):
    [name], run = made(place, 1)
    place.settles(lambda: found(place, f"tags.run = '{run}'"), [name])
    same(
        [
            one.device_id
            for one in place.rows(f"select * From DEVICES wHERE tags.run = '{run}' and Not tags.n = 1")
        ],
        [name],
    )


@check
def a_quote_in_a_text_is_doubled(place):
    names, run = made(place, 1)
    place.registry.update_twin(names[0], Twin(tags={"who": "O'Neill"}), "*")
    place.settles(lambda: found(place, f"tags.run = '{run}' AND tags.who = 'O''Neill'"), names)


@check
def a_projection_gives_what_it_names(place):
    [name], run = made(place, 1)
    text = f"SELECT deviceId, tags.n AS number FROM devices WHERE tags.run = '{run}'"
    place.settles(lambda: len(place.rows(text)), 1)
    [row] = place.rows(text)
    same((row.device_id, row.additional_properties), (name, {"number": 0}))
    page = place.registry.query_iot_hub(QuerySpecification(query=text))
    same(page.type, "Raw")


@check
def a_count_is_one_row(place):
    _, run = made(place, 3)
    text = f"SELECT COUNT() AS devices FROM devices WHERE tags.run = '{run}'"
    place.settles(lambda: raw(place, text), [{"devices": 3}])


@check
def aggregates_are_computed(place):
    _, run = made(place, 4)
    text = (
        "SELECT SUM(tags.n) AS total, AVG(tags.n) AS mean, MIN(tags.n) AS least, MAX(tags.n) AS most "
        f"FROM devices WHERE tags.run = '{run}'"
    )
    place.settles(lambda: raw(place, text), [{"total": 6, "mean": 1.5, "least": 0, "most": 3}])


@check
def groups_are_counted(place):
    names, run = made(place, 3, kind="a")
    place.registry.update_twin(names[0], Twin(tags={"kind": "b"}), "*")
    text = (
        "SELECT tags.kind AS kind, COUNT() AS devices "
        f"FROM devices WHERE tags.run = '{run}' GROUP BY tags.kind"
    )

    def groups():
        return sorted((row["kind"], row["devices"]) for row in raw(place, text))

    place.settles(groups, [("a", 2), ("b", 1)])


@check
def modules_are_asked_for(place):
    device = place.device().device_id
    for name in ("a", "b"):
        place.module(device, name)
    desired = Twin(properties=TwinProperties(desired={"x": 1}))
    place.registry.update_module_twin(device, "b", desired, "*")

    def rows(where):
        text = f"SELECT * FROM devices.modules WHERE deviceId = '{device}' AND {where}"
        return [(twin.device_id, twin.module_id) for twin in place.rows(text)]

    place.settles(lambda: rows("moduleId = 'a'"), [(device, "a")])
    place.settles(lambda: rows("properties.desired.x = 1"), [(device, "b")])


@check
def children_of_an_edge_device_are_found(place):
    parent = place.device(edge=True)
    name = place.name()
    place.registry.create_device_with_sas(
        name, "", "", "enabled", device_scope=parent.device_scope, parent_scopes=parent.device_scope
    )
    where = f"array_contains(parentScopes, '{parent.device_scope}')"
    place.settles(lambda: found(place, where), [name])


@check
def a_query_that_is_none_is_refused(place):
    call = place.registry.query_iot_hub
    for text in ("select", "SELECT * FROM devices WHERE", "SELECT * FROM nowhere", ""):
        same(refusal(call, QuerySpecification(query=text))[0], 400)


@check_here
def a_refusal_names_the_column(place):
    try:
        place.registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices WHERE tags.a ="))
    except Exception as error:  # noqa: BLE001  the client's own, looked at below
        same("column" in error.response.text, True)
    else:
        raise AssertionError("not refused")
