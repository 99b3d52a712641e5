"""The steps that are london_taxi's own, as functions."""

from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
import yaml
from london_taxi.columns import FEATURES, RAW, TARGET
from london_taxi.prepare import drop_unusable, read_trips
from london_taxi.transform import CHARING_CROSS, bearing_deg, crow_km, make_features
from regression.predict import predict
from regression.score import score
from regression.train import fit, make_estimator, split

FOLDER = Path(__file__).parents[1]
SAMPLE = FOLDER / "data"

GOOD = {
    "started_at": "2024-03-09 21:45",
    "pickup_lat": 51.5074,
    "pickup_lng": -0.1278,
    "dropoff_lat": 51.5308,
    "dropoff_lng": -0.1278,
    "distance_km": 3.4,
    "tariff": 2,
    "passengers": 2,
    TARGET: 13.4,
}


def test_every_file_of_trips_is_read_in_order_of_names(tmp_path: Path) -> None:
    for name, fares in (("trips_b.csv", [3.0]), ("trips_a.csv", [1.0, 2.0])):
        table = pd.DataFrame([{**GOOD, TARGET: fare} for fare in fares])
        table[list(reversed(table.columns))].assign(note="x").to_csv(tmp_path / name, index=False)
    trips = read_trips(tmp_path)
    assert list(trips.columns) == list(RAW)
    assert list(trips[TARGET]) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param({}, "found none", id="no file"),
        pytest.param({"trips.csv": "started_at\nx\n"}, "no column distance_km", id="missing columns"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_name(tmp_path: Path, files: dict, says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit, match=says):
        read_trips(tmp_path)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        pytest.param({}, True, id="a good trip"),
        pytest.param({"pickup_lat": 51.70}, True, id="on the northern edge"),
        pytest.param({"pickup_lat": 51.71}, False, id="start north of London"),
        pytest.param({"dropoff_lat": 50.8}, False, id="end in Brighton"),
        pytest.param({"dropoff_lng": -1.26}, False, id="end in Oxford"),
        pytest.param({"pickup_lat": 0.0, "pickup_lng": 0.0}, False, id="no position"),
        pytest.param({"distance_km": 0.0}, False, id="no distance"),
        pytest.param({"tariff": 0}, False, id="unknown tariff"),
        pytest.param({"passengers": 0}, False, id="nobody aboard"),
        pytest.param({TARGET: 0.0}, False, id="no fare"),
        pytest.param({"distance_km": np.nan}, False, id="distance unknown"),
    ],
)
def test_only_trips_in_london_that_were_paid_for_are_kept(change: dict, kept: bool) -> None:
    assert len(drop_unusable(pd.DataFrame([{**GOOD, **change}]))) == int(kept)


def test_features_are_doubles_in_order_and_the_fare() -> None:
    features = make_features(pd.DataFrame([GOOD]))
    assert list(features.columns) == [*FEATURES, TARGET]
    assert set(features.dtypes.astype(str)) == {"float64"}
    row = features.iloc[0]
    assert list(row[["distance_km", "tariff", "time_of_day_h", "weekend", "passengers", TARGET]]) == [
        *(3.4, 2.0, 21.75, 1.0, 2.0),  # a Saturday
        13.4,
    ]
    assert row["crow_km"] == pytest.approx(0.0234 * np.pi / 180 * 6371)  # due north
    assert row["pickup_from_centre_km"] == 0
    assert row["dropoff_from_centre_km"] == row["crow_km"]
    assert row["bearing_deg"] == 0


@pytest.mark.parametrize(
    ("to", "km", "degrees"),
    [
        pytest.param((51.4700, -0.4543), 22.96, 259.6, id="Heathrow, west"),
        pytest.param((51.5033, 0.0032), 9.08, 92.9, id="The O2, east"),
    ],
)
def test_distances_and_directions_are_those_of_the_map(to: tuple, km: float, degrees: float) -> None:
    assert crow_km(*CHARING_CROSS, *to) == pytest.approx(km, abs=0.05)
    assert bearing_deg(*CHARING_CROSS, *to) == pytest.approx(degrees, abs=0.5)


def test_the_sample_is_what_its_generator_writes(tmp_path: Path) -> None:
    run_path(str(FOLDER / "make_sample.py"))["write_sample"](tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in SAMPLE.iterdir()
    }


def test_the_declared_estimator_learns_the_sample_and_never_lets_a_longer_way_cost_less() -> None:
    train = yaml.safe_load((FOLDER / "pipeline.yml").read_text())["jobs"]["train"]["inputs"]
    features = make_features(drop_unusable(read_trips(SAMPLE)))
    learn, held_out = split(features, 0.3, 42)
    model = fit(make_estimator(train["estimator"], train["parameters"]), learn, TARGET)
    assert score(predict(model, held_out, TARGET), TARGET)["r2"] > 0.95
    rows = held_out[FEATURES].head(20)
    fares = [model.predict(rows.assign(distance_km=float(km))) for km in range(1, 40)]
    assert np.all(np.diff(fares, axis=0) >= 0)
    assert np.all(fares[-1] > fares[0])
