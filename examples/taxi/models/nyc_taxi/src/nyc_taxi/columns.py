"""The names of things: columns of the two raw files, of trips, and of the model."""

TARGET = "fareAmount"

GREEN = {
    "vendorID": "vendor",
    "lpepPickupDatetime": "pickup_at",
    "lpepDropoffDatetime": "dropoff_at",
    "passengerCount": "passengers",
    "tripDistance": "distance",
    "pickupLongitude": "pickup_longitude",
    "pickupLatitude": "pickup_latitude",
    "dropoffLongitude": "dropoff_longitude",
    "dropoffLatitude": "dropoff_latitude",
    "storeAndFwdFlag": "store_forward",
    TARGET: TARGET,
}
YELLOW = {
    "vendorID": "vendor",
    "tpepPickupDateTime": "pickup_at",
    "tpepDropoffDateTime": "dropoff_at",
    "passengerCount": "passengers",
    "tripDistance": "distance",
    "startLon": "pickup_longitude",
    "startLat": "pickup_latitude",
    "endLon": "dropoff_longitude",
    "endLat": "dropoff_latitude",
    "storeAndFwdFlag": "store_forward",
    TARGET: TARGET,
}

TIMES = ("weekday", "month", "monthday", "hour", "minute", "second")
FEATURES = [
    "distance",
    "dropoff_latitude",
    "dropoff_longitude",
    "passengers",
    "pickup_latitude",
    "pickup_longitude",
    "store_forward",
    "vendor",
    *(f"pickup_{part}" for part in TIMES),
    *(f"dropoff_{part}" for part in TIMES),
]
"""The model's inputs, in order."""
