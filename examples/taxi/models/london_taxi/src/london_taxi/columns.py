"""The names of things: columns of the raw files, and of the model."""

TARGET = "fare_gbp"

RAW = (
    "started_at",
    "pickup_lat",
    "pickup_lng",
    "dropoff_lat",
    "dropoff_lng",
    "distance_km",
    "tariff",
    "passengers",
    TARGET,
)

FEATURES = [
    "distance_km",
    "crow_km",
    "pickup_from_centre_km",
    "dropoff_from_centre_km",
    "bearing_deg",
    "tariff",
    "time_of_day_h",
    "weekend",
    "passengers",
]
"""The model's inputs, in order."""
