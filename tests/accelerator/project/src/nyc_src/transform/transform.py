"""Makes the columns that the model learns from."""

import argparse
from pathlib import Path

import pandas as pd


def features(trips):
    made = trips[["distance", "passengers", "cost"]].astype(float)
    made.insert(2, "hour", pd.to_datetime(trips["pickup"]).dt.hour.astype(float))
    return made


def main(clean_data, transformed_data):
    trips = pd.read_csv(Path(clean_data) / "trips.csv")
    features(trips).to_csv(Path(transformed_data) / "features.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clean_data")
    parser.add_argument("--transformed_data")
    given = parser.parse_args()
    main(given.clean_data, given.transformed_data)
