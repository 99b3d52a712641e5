"""The steps that the taxi models share, as functions."""

import numpy as np
import pandas as pd
import pytest
from regression.predict import predict
from regression.score import score
from regression.train import fit, make_estimator, split
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score


@pytest.fixture
def features() -> pd.DataFrame:
    """Forty rows whose fare is exactly 3 + 2 · miles."""
    miles = np.linspace(1, 20, 40)
    return pd.DataFrame({"miles": miles, "hour": np.arange(40.0) % 24, "fare": 3 + 2 * miles})


def test_an_estimator_comes_with_its_parameters() -> None:
    made = make_estimator("sklearn.ensemble.HistGradientBoostingRegressor", "max_iter=7,learning_rate=0.2")
    assert isinstance(made, HistGradientBoostingRegressor)
    assert (made.max_iter, made.learning_rate) == (7, 0.2)


@pytest.mark.parametrize(
    ("path", "parameters", "says"),
    [
        pytest.param("os.system", "", "expected a class of scikit-learn", id="not of scikit-learn"),
        pytest.param("sklearn.linear_model.Rigde", "", "cannot be made", id="no such class"),
        pytest.param("sklearn.linear_model.Ridge", "alhpa=1", "alhpa", id="no such parameter"),
        pytest.param("sklearn.linear_model.Ridge", "alpha=print(1)", "cannot be made", id="code for a value"),
        pytest.param("sklearn.linear_model.Ridge", "alpha", "cannot be made", id="no value"),
    ],
)
def test_what_is_no_estimator_is_refused_by_name(path: str, parameters: str, says: str) -> None:
    with pytest.raises(SystemExit, match=says):
        make_estimator(path, parameters)


def test_every_column_but_the_target_is_an_input(features: pd.DataFrame) -> None:
    learn, held_out = split(features, 0.25, 42)
    assert (len(learn), len(held_out)) == (30, 10)
    assert set(learn.index).isdisjoint(held_out.index)
    model = fit(make_estimator("sklearn.linear_model.LinearRegression"), learn, "fare")
    predictions = predict(model, held_out, "fare")
    assert list(predictions.columns) == ["miles", "hour", "predicted_fare", "fare"]
    assert predictions["predicted_fare"].to_numpy() == pytest.approx(held_out["fare"].to_numpy())


def test_the_same_seed_holds_out_the_same_rows(features: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(split(features, 0.25, 1)[1], split(features, 0.25, 1)[1])
    assert not split(features, 0.25, 1)[1].equals(split(features, 0.25, 2)[1])


def test_scores_are_scikit_learns() -> None:
    dice = np.random.default_rng(7)
    fares = dice.uniform(3, 60, 50)
    table = pd.DataFrame({"fare": fares, "predicted_fare": fares + dice.normal(0, 2, 50)})
    assert score(table, "fare") == pytest.approx(
        {
            "mse": mean_squared_error(table["fare"], table["predicted_fare"]),
            "mae": mean_absolute_error(table["fare"], table["predicted_fare"]),
            "r2": r2_score(table["fare"], table["predicted_fare"]),
        },
        rel=1e-12,
    )
