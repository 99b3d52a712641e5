"""Read green and yellow trips, bind their columns by name, drop trips that cannot be used."""

import argparse
from pathlib import Path

import pandas as pd

from nyc_taxi.columns import GREEN, TARGET, YELLOW

# The city: trips with an end outside are mostly broken positions, (0, 0) above all.
LONGITUDES = (-74.09, -73.72)
LATITUDES = (40.53, 40.88)


def read_trips(folder: Path) -> pd.DataFrame:
    """All trips under common names, green ones first: the order decides which trips are held out."""
    parts = []
    for colour, names in (("green", GREEN), ("yellow", YELLOW)):
        files = sorted(folder.glob(f"{colour}*.csv"))
        if len(files) != 1:
            raise SystemExit(f"expected one {colour}*.csv in {folder}, found {len(files)}")
        raw = pd.read_csv(files[0])
        missing = sorted(set(names) - set(raw.columns))
        if missing:
            raise SystemExit(f"{files[0].name} has no column {', '.join(missing)}")
        parts.append(raw[list(names)].rename(columns=names))
    return pd.concat(parts, ignore_index=True)


def drop_unusable(trips: pd.DataFrame) -> pd.DataFrame:
    """Trips with both ends in the city, a distance and a cost."""
    good = (trips["distance"] > 0) & (trips[TARGET] > 0)
    for end in ("pickup", "dropoff"):
        good &= trips[f"{end}_longitude"].between(*LONGITUDES) & trips[f"{end}_latitude"].between(*LATITUDES)
    return trips[good].reset_index(drop=True)


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
