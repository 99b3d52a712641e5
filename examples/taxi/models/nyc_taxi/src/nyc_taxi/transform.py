"""Turn trips into the twenty columns of the model, all numbers, and the fare."""

import argparse
from pathlib import Path

import pandas as pd

from nyc_taxi.columns import FEATURES, TARGET


def make_features(trips: pd.DataFrame) -> pd.DataFrame:
    """The model's columns as doubles, in order, and the fare, row by row."""
    made = trips.assign(store_forward=(trips["store_forward"] == "Y"))
    for end in ("pickup", "dropoff"):
        at = pd.to_datetime(trips[f"{end}_at"]).dt
        made[f"{end}_weekday"] = at.day_of_week
        made[f"{end}_month"] = at.month
        made[f"{end}_monthday"] = at.day
        made[f"{end}_hour"] = at.hour
        made[f"{end}_minute"] = at.minute
        made[f"{end}_second"] = at.second
    return made[[*FEATURES, TARGET]].astype("float64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trips", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    arguments = parser.parse_args()
    features = make_features(pd.read_csv(arguments.trips / "trips.csv"))
    features.to_csv(arguments.features / "features.csv", index=False)
    print(f"{len(features)} rows of {len(FEATURES)} columns")


if __name__ == "__main__":
    main()
