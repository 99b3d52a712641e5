"""The steps of nyc_taxi as functions."""

from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
from nyc_taxi.columns import FEATURES, TARGET
from nyc_taxi.prepare import drop_unusable, read_trips
from nyc_taxi.transform import make_features
from regression.predict import predict
from regression.score import score
from regression.train import fit, make_estimator, split
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

SAMPLE = Path(__file__).parents[1] / "data"
REAL_TRIPS = Path(__file__).parents[6] / "shared" / "data" / "tlc"

GOOD = {
    "vendor": 2,
    "pickup_at": "2016-01-03 21:02:35",
    "dropoff_at": "2016-02-01 00:05:52",
    "passengers": 3,
    "distance": 0.83,
    "pickup_longitude": -73.98,
    "pickup_latitude": 40.69,
    "dropoff_longitude": -73.97,
    "dropoff_latitude": 40.7,
    "store_forward": "Y",
    TARGET: 4.5,
}


def test_green_trips_stand_before_yellow_ones_under_common_names() -> None:
    trips = read_trips(SAMPLE)
    green, yellow = (pd.read_csv(SAMPLE / f"{colour}_synthetic.csv") for colour in ("green", "yellow"))
    assert list(trips[TARGET]) == [*green[TARGET], *yellow[TARGET]]
    assert list(trips["pickup_longitude"]) == [*green["pickupLongitude"], *yellow["startLon"]]


def test_columns_are_bound_by_name_whatever_their_order(tmp_path: Path) -> None:
    for file in SAMPLE.glob("*.csv"):
        table = pd.read_csv(file)
        table[list(reversed(table.columns))].to_csv(tmp_path / file.name, index=False)
    pd.testing.assert_frame_equal(read_trips(tmp_path), read_trips(SAMPLE))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda folder: (folder / "green_synthetic.csv").unlink(), "found 0", id="no green file"),
        pytest.param(
            lambda folder: (folder / "yellow_2.csv").write_text("x"),
            "expected one yellow",
            id="two yellow files",
        ),
        pytest.param(
            lambda folder: (folder / "green_synthetic.csv").write_text("vendorID\n1\n"),
            "has no column",
            id="missing columns",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_name(tmp_path: Path, spoil, says: str) -> None:
    for file in SAMPLE.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    with pytest.raises(SystemExit, match=says):
        read_trips(tmp_path)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        pytest.param({}, True, id="a good trip"),
        pytest.param({"pickup_longitude": -74.09}, True, id="on the western edge"),
        pytest.param({"pickup_longitude": -74.0901}, False, id="start west of the city"),
        pytest.param({"dropoff_longitude": -74.5}, False, id="end west of the city"),
        pytest.param({"dropoff_longitude": -73.71}, False, id="end east of the city"),
        pytest.param({"pickup_latitude": 40.52}, False, id="start south of the city"),
        pytest.param({"dropoff_latitude": 40.89}, False, id="end north of the city"),
        pytest.param({"pickup_longitude": 0.0, "pickup_latitude": 0.0}, False, id="no position"),
        pytest.param({"distance": 0.0}, False, id="no distance"),
        pytest.param({TARGET: 0.0}, False, id="no cost"),
        pytest.param({TARGET: -4.5}, False, id="money given back"),
        pytest.param({"distance": np.nan}, False, id="distance unknown"),
    ],
)
def test_only_trips_in_the_city_with_distance_and_cost_are_kept(change: dict, kept: bool) -> None:
    assert len(drop_unusable(pd.DataFrame([{**GOOD, **change}]))) == int(kept)


def test_features_are_twenty_doubles_in_order_and_the_fare() -> None:
    features = make_features(pd.DataFrame([GOOD]))
    assert list(features.columns) == [*FEATURES, TARGET]
    assert len(FEATURES) == 20
    assert set(features.dtypes.astype(str)) == {"float64"}
    assert list(features.iloc[0]) == [
        *(0.83, 40.7, -73.97, 3.0, 40.69, -73.98, 1.0, 2.0),
        *(6, 1, 3, 21, 2, 35),  # Sunday, 3 January
        *(0, 2, 1, 0, 5, 52),  # Monday, 1 February
        4.5,
    ]


def test_the_sample_is_what_its_generator_writes(tmp_path: Path) -> None:
    run_path(str(SAMPLE.parent / "make_sample.py"))["write_sample"](tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in SAMPLE.iterdir()
    }


def test_real_trips_give_the_r2_of_plain_scikit_learn_on_the_same_rows() -> None:
    if not REAL_TRIPS.is_dir():
        pytest.skip(f"the real trips are not here: {REAL_TRIPS}")
    learn, held_out = split(make_features(drop_unusable(read_trips(REAL_TRIPS))), 0.3, 42)
    model = fit(make_estimator("sklearn.linear_model.LinearRegression"), learn, TARGET)
    ours = score(predict(model, held_out, TARGET), TARGET)
    assert (len(learn), len(held_out)) == (6834, 2929)
    assert ours["r2"] == pytest.approx(0.888671258751, abs=1e-6)
    assert ours["r2"] == pytest.approx(plain_r2(), abs=1e-9)


def plain_r2() -> float:
    """Held-out R2 computed from the raw files without any of the model's code."""
    green = pd.read_csv(next(REAL_TRIPS.glob("green*.csv")))
    yellow = pd.read_csv(next(REAL_TRIPS.glob("yellow*.csv")))
    ends = {
        "green": ["pickupLongitude", "pickupLatitude", "dropoffLongitude", "dropoffLatitude"],
        "yellow": ["startLon", "startLat", "endLon", "endLat"],
    }
    blocks = []
    for table, colour, pickup, dropoff in (
        (green, "green", "lpepPickupDatetime", "lpepDropoffDatetime"),
        (yellow, "yellow", "tpepPickupDateTime", "tpepDropoffDateTime"),
    ):
        columns = [table[name].to_numpy(float) for name in ends[colour]]
        columns += [table[name].to_numpy(float) for name in ("tripDistance", "passengerCount", "vendorID")]
        columns.append((table["storeAndFwdFlag"] == "Y").to_numpy(float))
        for name in (pickup, dropoff):
            times = [pd.Timestamp(text) for text in table[name]]
            columns += [
                np.array([getattr(time, part) for time in times], float)
                for part in ("month", "day", "hour", "minute", "second")
            ]
            columns.append(np.array([time.weekday() for time in times], float))
        blocks.append(np.column_stack([*columns, table["fareAmount"].to_numpy(float)]))
    rows = np.vstack(blocks)
    west, south, end_west, end_south = rows[:, :4].T
    inside = (west >= -74.09) & (west <= -73.72) & (end_west >= -74.09) & (end_west <= -73.72)
    inside &= (south >= 40.53) & (south <= 40.88) & (end_south >= 40.53) & (end_south <= 40.88)
    rows = rows[inside & (rows[:, 4] > 0) & (rows[:, -1] > 0)]
    learn, held_out = train_test_split(rows, test_size=0.3, random_state=42)
    model = LinearRegression().fit(learn[:, :-1], learn[:, -1])
    return float(model.score(held_out[:, :-1], held_out[:, -1]))
