"""Puts green and yellow trips together, and leaves out those that cannot be."""

import argparse
from pathlib import Path

import pandas as pd


def clean(trips):
    return trips[(trips["distance"] > 0) & (trips["cost"] > 0)].reset_index(drop=True)


def main(raw_data, prep_data):
    parts = [pd.read_csv(path) for path in sorted(Path(raw_data).glob("*.csv"))]
    clean(pd.concat(parts, ignore_index=True)).to_csv(Path(prep_data) / "trips.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw_data")
    parser.add_argument("--prep_data")
    given = parser.parse_args()
    main(given.raw_data, given.prep_data)
