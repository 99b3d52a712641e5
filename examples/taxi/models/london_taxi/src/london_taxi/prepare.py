"""Read London's trips and drop those that cannot be used."""

import argparse
from pathlib import Path

import pandas as pd

from london_taxi.columns import RAW, TARGET

# Greater London, roughly the ring of the M25.
LATITUDES = (51.28, 51.70)
LONGITUDES = (-0.52, 0.34)
TARIFFS = (1, 2, 3)


def read_trips(folder: Path) -> pd.DataFrame:
    """The trips of every trips*.csv, files in order of their names."""
    files = sorted(folder.glob("trips*.csv"))
    if not files:
        raise SystemExit(f"expected trips*.csv in {folder}, found none")
    parts = []
    for file in files:
        raw = pd.read_csv(file)
        missing = sorted(set(RAW) - set(raw.columns))
        if missing:
            raise SystemExit(f"{file.name} has no column {', '.join(missing)}")
        parts.append(raw[list(RAW)])
    return pd.concat(parts, ignore_index=True)


def drop_unusable(trips: pd.DataFrame) -> pd.DataFrame:
    """The trips within London, on a known tariff, with distance, passengers and fare above zero."""
    good = trips["tariff"].isin(TARIFFS)
    for end in ("pickup", "dropoff"):
        good &= trips[f"{end}_lat"].between(*LATITUDES) & trips[f"{end}_lng"].between(*LONGITUDES)
    for column in ("distance_km", "passengers", TARGET):
        good &= trips[column] > 0
    return trips[good]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw-data", type=Path, required=True)
    parser.add_argument("--trips", type=Path, required=True)
    arguments = parser.parse_args()
    trips = read_trips(arguments.raw_data)
    kept = drop_unusable(trips)
    kept.to_csv(arguments.trips / "trips.csv", index=False)
    print(f"{len(kept)} of {len(trips)} trips kept")


if __name__ == "__main__":
    main()
