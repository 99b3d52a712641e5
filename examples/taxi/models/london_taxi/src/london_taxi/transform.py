"""Turn trips into the columns of the model, all numbers, and the fare."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from london_taxi.columns import FEATURES, TARGET

CHARING_CROSS = (51.5074, -0.1278)
"""From where distances to London are measured."""
EARTH_KM = 6371.0


def crow_km(from_lat, from_lng, to_lat, to_lng):
    """Kilometres as the crow flies, by the haversine formula; degrees in."""
    north = np.radians(to_lat - from_lat)
    east = np.radians(to_lng - from_lng)
    squared = (
        np.sin(north / 2) ** 2
        + np.cos(np.radians(from_lat)) * np.cos(np.radians(to_lat)) * np.sin(east / 2) ** 2
    )
    return 2 * EARTH_KM * np.arcsin(np.sqrt(squared))


def bearing_deg(from_lat, from_lng, to_lat, to_lng):
    """The direction of the trip, degrees clockwise from north, from 0 up to 360."""
    east = np.radians(to_lng - from_lng) * np.cos(np.radians((from_lat + to_lat) / 2))
    return np.degrees(np.arctan2(east, np.radians(to_lat - from_lat))) % 360


def make_features(trips: pd.DataFrame) -> pd.DataFrame:
    """The model's columns as doubles, in order, and the fare, row by row."""
    ends = [trips[name] for name in ("pickup_lat", "pickup_lng", "dropoff_lat", "dropoff_lng")]
    started = pd.to_datetime(trips["started_at"]).dt
    made = trips.assign(
        crow_km=crow_km(*ends),
        pickup_from_centre_km=crow_km(*CHARING_CROSS, *ends[:2]),
        dropoff_from_centre_km=crow_km(*CHARING_CROSS, *ends[2:]),
        bearing_deg=bearing_deg(*ends),
        time_of_day_h=started.hour + started.minute / 60,
        weekend=started.day_of_week >= 5,
    )
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
