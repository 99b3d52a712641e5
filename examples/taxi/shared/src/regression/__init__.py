"""What every fare model's pipeline does alike: train, predict, score, register. Files in, files out.

Knows no model's columns: `target` names the column to learn, all others in the features file are inputs.
"""

OWN_TYPES = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
"""Loaded from a saved model without a question; skops trusts all other types of scikit-learn by itself."""


def prediction_of(target: str) -> str:
    """The name of the column that holds predictions of `target`."""
    return f"predicted_{target}"
