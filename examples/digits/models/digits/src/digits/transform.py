"""Turn each image into one row: its pixels in row-major order, and the digit."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from digits.columns import FEATURES, SIDE, TARGET, WHITE


def make_features(images: np.ndarray, digits: np.ndarray) -> pd.DataFrame:
    """The model's columns as doubles, in order, and the digit, row by row."""
    if images.shape[1:] != (SIDE, SIDE) or images.min() < 0 or images.max() > WHITE:
        raise SystemExit(f"expected images of {SIDE} × {SIDE} pixels from 0 to {WHITE}")
    rows = images.reshape(len(images), SIDE * SIDE).astype("float64")
    return pd.DataFrame(rows, columns=FEATURES).assign(**{TARGET: digits})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    arguments = parser.parse_args()
    with np.load(arguments.digits / "digits.npz") as kept:
        features = make_features(kept["images"], kept["digits"])
    features.to_csv(arguments.features / "features.csv", index=False)
    print(f"{len(features)} rows of {len(FEATURES)} columns")


if __name__ == "__main__":
    main()
