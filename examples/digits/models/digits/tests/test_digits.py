"""The steps of digits as functions."""

from pathlib import Path
from runpy import run_path

import numpy as np
import pandas as pd
import pytest
import yaml
from digits.columns import FEATURES, PREDICTION, SIDE, TARGET, WHITE
from digits.predict import predict
from digits.score import score
from digits.train import fit, split
from digits.transform import make_features
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.pipeline import Pipeline

FOLDER = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    digits = load_digits()
    return split(make_features(digits.images, digits.target), 0.3, 42)


@pytest.fixture(scope="module")
def model(halves: tuple[pd.DataFrame, pd.DataFrame]) -> Pipeline:
    return fit(halves[0])


def test_pixels_become_columns_in_row_major_order() -> None:
    image = np.zeros((1, SIDE, SIDE))
    image[0, 2, 5] = 9.0
    features = make_features(image, np.array([4]))
    assert list(features.columns) == [*FEATURES, TARGET]
    assert features[FEATURES].to_numpy().nonzero()[1].tolist() == [2 * SIDE + 5]
    assert (features["pixel_2_5"][0], features[TARGET][0]) == (9.0, 4)
    assert set(features[FEATURES].dtypes.astype(str)) == {"float64"}


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(np.zeros((1, 16, 16)), id="another size"),
        pytest.param(np.full((1, SIDE, SIDE), 17.0), id="whiter than white"),
        pytest.param(np.full((1, SIDE, SIDE), -1.0), id="blacker than black"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: np.ndarray) -> None:
    with pytest.raises(SystemExit, match="expected images of 8 × 8 pixels"):
        make_features(images, np.array([0]))


def test_every_digit_is_held_out_in_its_share(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    learn, held_out = halves
    assert (len(learn), len(held_out)) == (1257, 540)
    shares = held_out[TARGET].value_counts() / (
        learn[TARGET].value_counts() + held_out[TARGET].value_counts()
    )
    assert shares.between(0.29, 0.31).all()


def test_the_model_recognises_digits_it_has_not_seen(
    model: Pipeline, halves: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    predictions = predict(model, halves[1])
    assert list(predictions.columns) == [*FEATURES, PREDICTION, TARGET]
    scores = score(predictions)
    assert scores["accuracy"] > 0.95
    assert scores["worst_digit_accuracy"] > 0.85


def test_accuracy_counts_what_is_right_and_names_the_worst_digit() -> None:
    table = pd.DataFrame({TARGET: [1, 1, 1, 1, 8, 8], PREDICTION: [1, 1, 1, 1, 8, 3]})
    assert score(table) == {"accuracy": pytest.approx(5 / 6), "worst_digit_accuracy": 0.5}


def test_the_images_to_post_are_what_their_generator_writes(tmp_path: Path) -> None:
    run_path(str(FOLDER / "make_images.py"))["write_images"](tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{digit}.png" for digit in range(10)]
    for file in tmp_path.iterdir():
        with Image.open(file) as fresh, Image.open(FOLDER / "images" / file.name) as kept:
            assert (kept.mode, kept.size) == ("L", (SIDE, SIDE))
            assert kept.tobytes() == fresh.tobytes()


def test_a_digit_is_recognised_as_an_image_as_well_as_by_its_numbers(
    model: Pipeline, halves: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """A pixel has 256 shades: what is posted is not exactly the row, and must not need to be."""
    declared = yaml.safe_load((FOLDER / "model.yaml").read_text())["image"]
    assert declared == {"width": SIDE, "height": SIDE, "scale": WHITE}
    rows = halves[1][FEATURES]
    posted = (rows * 255 / WHITE).round() * WHITE / 255
    assert (posted - rows).abs().to_numpy().max() > 0
    assert (model.predict(posted) == model.predict(rows)).all()
