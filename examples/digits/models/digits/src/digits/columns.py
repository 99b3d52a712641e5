"""The names of things: columns of the model."""

SIDE = 8
WHITE = 16
"""A pixel is a number from 0 (black) to 16 (white)."""

TARGET = "digit"
PREDICTION = f"predicted_{TARGET}"
FEATURES = [f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE)]
"""The model's inputs: pixels in row-major order, as edgeferry reads a posted image."""
