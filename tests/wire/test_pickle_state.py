"""Pickles read as values: what a model's attributes are, and that nothing is run or raised otherwise."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from edgeferry.wire.pickle_state import Made, Named, read_state, read_texts

NAMES = ("flow (l/s)", "Höhe", "head")
ROWS = pd.DataFrame(np.eye(6, 3), columns=list(NAMES))
LABELS = np.array(["fine", "worn", "gone"] * 2, dtype=object)
FOREST = RandomForestClassifier(2, random_state=1).fit(ROWS, LABELS)
PICKLED = pickle.dumps(FOREST)


def joblibs(model: Any) -> bytes:
    body = io.BytesIO()
    joblib.dump(model, body)
    return body.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(pickle.dumps(FOREST, protocol), id=f"protocol {protocol}") for protocol in range(6)),
        pytest.param(joblibs(FOREST), id="joblib, arrays between the opcodes"),
    ],
)
def test_a_models_attributes_are_what_it_was_fitted_with(body: bytes) -> None:
    made = read_state(body)
    assert isinstance(made, Made)
    assert read_texts(made.attribute("feature_names_in_")) == NAMES
    assert made.attribute("n_features_in_") == 3
    assert made.attribute("n_estimators") == 2
    assert read_texts(made.attribute("classes_")) == ("fine", "gone", "worn")
    assert made.attribute("nothing of the kind") is None


class _Touches:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_that_a_pickle_names_is_called(protocol: int, tmp_path: Path) -> None:
    made = read_state(pickle.dumps(_Touches(tmp_path / "made"), protocol))
    assert made.of in (Named("posix", "mkdir"), Named("os", "mkdir"))
    assert made.arguments == (str(tmp_path / "made"),)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", [[1, {"a": (2, 3)}], "text", None, {"k": [b"x", 1.5, True]}])
@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_themselves(value: Any, protocol: int) -> None:
    if not (protocol < 3 and "k" in str(value)):  # bytes are calls there
        assert read_state(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=60) | st.integers(0, len(PICKLED) - 1).map(lambda end: PICKLED[:end]))
def test_bytes_that_are_no_whole_pickle_are_an_error_and_nothing_worse(body: bytes) -> None:
    try:
        read_state(body)
    except ValueError:
        return
    assert b"." in body


@given(st.integers(0, len(PICKLED) - 1), st.integers(0, 255))
def test_a_pickle_with_one_wrong_byte_is_read_or_an_error(place: int, byte: int) -> None:
    try:
        read_state(PICKLED[:place] + bytes([byte]) + PICKLED[place + 1 :])
    except ValueError:
        return


def wrapped(dtype: bytes, shape: bytes) -> bytes:
    """An array as joblib puts it between the opcodes: `dtype` and `shape` as opcodes."""
    kind = b"cnumpy\ndtype\n(" + dtype + b"tR"
    state = b"(Vdtype\n" + kind + b"Vshape\n" + shape + b"d"
    return b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + state + b"b."


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b"}()" + b"2\x86" * 60 + b"K\x01Va\nK\x02u.", {"a": 2}, id="a key that never hashes"),
        pytest.param(b"}(K\x05K\x01\x8a\x08" + b"\xff" * 7 + b"\x7fK\x02u.", {5: 1}, id="a key like others"),
        pytest.param(wrapped(b"Vf8\n", b"(Va\nJ\x00\xa3\xe1\x11t"), None, id="a shape with a text"),
        pytest.param(wrapped(b"Vf8\n", b"(J\xff\xff\xff\xfft"), None, id="a shape below nothing"),
        pytest.param(wrapped(b"Vf-8\n", b"(K\x01t"), None, id="numbers of less than nothing"),
        pytest.param(wrapped(b"Vf8\n", b"(K\x09t"), None, id="a shape beyond the end"),
        pytest.param(b"\x80\x04K\x01K\x02\x93.", None, id="a name of numbers"),
    ],
)
def test_a_body_that_would_take_for_ever_is_read_without_or_refused(body: bytes, value: Any) -> None:
    if value is not None:
        assert read_state(body) == value
        return
    with pytest.raises(ValueError, match=r"no pickle|no shape|too early"):
        read_state(body)


def test_an_array_without_numbers_is_one() -> None:
    assert isinstance(read_state(wrapped(b"Vf8\n", b"(J\xff\xff\xff\x7fK\x00t")), Made)
