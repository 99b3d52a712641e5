"""Take the handwritten digits that scikit-learn brings: 1,797 images of 8 × 8 pixels, written by 43 people.

They are the test part of "Optical Recognition of Handwritten Digits" (UCI), CC BY 4.0.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path, required=True)
    arguments = parser.parse_args()
    digits = load_digits()
    np.savez(arguments.digits / "digits.npz", images=digits.images, digits=digits.target)
    print(f"{len(digits.images)} images of {digits.images.shape[1]} × {digits.images.shape[2]} pixels")


if __name__ == "__main__":
    main()
