"""The index against reading every document: the same rows, whatever is written, removed and asked."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.expression import Path, follow
from edgeferry.domain.value import UNDEFINED
from edgeferry.hub.index import Index

VALUES = st.one_of(
    st.sampled_from(["a", "b", "", 0, 1, 1.0, -2, True, False, None]),
    st.lists(st.sampled_from(["a", 1, True]), max_size=2),
)
TAGS = st.dictionaries(st.sampled_from("xyz"), st.one_of(VALUES, st.dictionaries(st.just("in"), VALUES)))
DOCUMENTS = st.fixed_dictionaries({"tags": TAGS, "status": st.sampled_from(["enabled", "disabled"])})
PATHS = ("tags.x", "tags.y", "tags.z.in", "tags.nowhere", "status", "version")
CONSTANTS = ("'a'", "'b'", "0", "1", "1.5", "true", "false", "null")


LEAVES = st.one_of(
    st.tuples(st.sampled_from(PATHS), st.sampled_from(("=", "!=", "<", ">=")), st.sampled_from(CONSTANTS)),
    st.tuples(st.sampled_from(PATHS), st.sampled_from(("=", "!=", "<")), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(PATHS), st.just("IN"), st.sampled_from(("['a', 1]", "[true, null]", "[]"))),
    st.tuples(st.sampled_from(PATHS[:4]).map("is_defined({})".format)),
    st.tuples(st.sampled_from(PATHS[:3]).map("array_contains({}, 'a')".format)),
    st.tuples(st.sampled_from((*PATHS, "true", "false"))),
).map(" ".join)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map("NOT ({})".format),
        st.tuples(inner, inner).map(lambda two: "({}) AND ({})".format(*two)),
        st.tuples(inner, inner, inner).map(lambda three: "({}) OR ({}) OR ({})".format(*three)),
    ),
    max_leaves=8,
)
NAMES = st.sampled_from([f"device-{number}" for number in range(8)])
WRITES = st.lists(st.tuples(NAMES, st.one_of(st.none(), DOCUMENTS)), min_size=1, max_size=25)


def build(late: dict[tuple[str, str], dict], *, all_tags: bool) -> Index:
    def scan(path: Path):
        return [(key, follow(document, path)) for key, document in late.items()]

    def live(path: Path):
        return (lambda key: len(key[0])) if path.segments == ("version",) else None

    return Index(scan, live, all_tags=all_tags)


@settings(max_examples=400)
@given(writes=WRITES, conditions=st.lists(CONDITIONS, min_size=1, max_size=4), all_tags=st.booleans())
def test_the_index_selects_what_reading_every_document_selects(writes, conditions, all_tags):
    documents: dict[tuple[str, str], dict] = {}
    index = build(documents, all_tags=all_tags)
    for number, (name, document) in enumerate(writes):
        key = (name, "")
        if document is None:
            documents.pop(key, None)
            index.remove(key)
        else:
            documents[key] = {**document, "version": len(name)}
            index.put(key, documents[key])
        condition = parse_condition(conditions[number % len(conditions)])
        mask = index.select(condition.expression)
        wanted = sorted(key for key, document in documents.items() if matches(condition, document))
        assert sorted(index.all_keys(mask)) == wanted
        assert list(index.keys(mask, None, 100)) == wanted
        assert mask.count(1) == len(wanted)
        if wanted:
            assert list(index.keys(mask, wanted[0], 2)) == wanted[1:3]


def test_more_than_256_values_and_rows_that_are_taken_again():
    documents: dict[tuple[str, str], dict] = {}
    index = build(documents, all_tags=True)
    for number in range(600):
        documents[(f"d{number}", "")] = {"tags": {"n": number, "half": number % 2 == 0}}
        index.put((f"d{number}", ""), documents[(f"d{number}", "")])
    for number in range(0, 600, 3):
        index.remove((f"d{number}", ""))
        del documents[(f"d{number}", "")]
    index.put(("new", ""), {"tags": {"n": 598.5}})
    documents[("new", "")] = {"tags": {"n": 598.5}}
    condition = parse_condition("tags.n > 590 AND NOT tags.half = true")
    chosen = {key for key, document in documents.items() if matches(condition, document)}
    assert set(index.all_keys(index.select(condition.expression))) == chosen
    assert len(index) == len(documents)
    assert chosen == {("d593", ""), ("d595", ""), ("d599", "")}


def test_columns_are_bounded_and_dropped_ones_come_back():
    documents = {(f"d{number}", ""): {"tags": {f"t{number}": number}} for number in range(400)}
    index = build(documents, all_tags=True)
    for key, document in documents.items():
        index.put(key, document)
    for number in (*range(400), 0, 1):
        condition = parse_condition(f"tags.t{number} = {number}")
        assert index.all_keys(index.select(condition.expression)) == [(f"d{number}", "")]


def test_the_values_of_chosen_rows():
    index = build({}, all_tags=True)
    index.put(("a", ""), {"tags": {"x": 1, "y": "left out"}})
    index.put(("b", ""), {"tags": {"x": 2.5}})
    index.put(("c", ""), {"tags": {"y": True}})
    everywhere = index.select(parse_condition("true").expression)
    x, y = Path(("tags", "x")), Path(("tags", "y"))
    rows = list(index.values(everywhere, [x, y]))
    assert sorted(rows, key=str) == [(1, "left out"), (2.5, UNDEFINED), (UNDEFINED, True)]
