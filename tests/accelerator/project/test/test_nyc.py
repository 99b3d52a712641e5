"""The team's own tests."""

import pandas as pd
from src.nyc_src.prep.prep import clean
from src.nyc_src.score.score import report


def test_trips_without_distance_are_left_out():
    trips = pd.DataFrame({"distance": [0.0, 1.0], "cost": [3.0, 4.0]})
    assert list(clean(trips)["cost"]) == [4.0]


def test_the_report_knows_two_errors():
    rows = pd.DataFrame({"actual_cost": [1.0, 2.0], "predicted_cost": [1.0, 4.0]})
    assert report(rows) == {"mse": 2.0, "mae": 1.0}
