"""What every fare model's pipeline does alike: train, predict, score, register. Files in, files out.

Knows no model's columns: `target` names the column to learn, all others in the features file are inputs.
"""


def prediction_of(target: str) -> str:
    """The name of the column that holds predictions of `target`."""
    return f"predicted_{target}"
