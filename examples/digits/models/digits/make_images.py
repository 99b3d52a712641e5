"""Write one image of each digit in images/, to post to the model: `python make_images.py`. Needs Pillow.

Each is the first of its digit in the data; the number 16 becomes the white pixel 255.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_images(folder: Path) -> None:
    """The files 0.png to 9.png, 8-bit grayscale."""
    digits = load_digits()
    for digit in range(10):
        pixels = digits.images[list(digits.target).index(digit)]
        Image.fromarray(np.round(pixels * 255 / 16).astype(np.uint8)).save(folder / f"{digit}.png")


if __name__ == "__main__":
    write_images(Path(__file__).parent / "images")
