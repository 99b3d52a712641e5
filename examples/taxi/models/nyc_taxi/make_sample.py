"""Write the synthetic sample in data/: `python make_sample.py`. The same seed, the same bytes.

These are no real trips. They have the column names of New York's green and yellow taxi records and about
their ranges, a few broken rows as the real ones have, and a fare that follows the meter.
"""

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path

GREEN = (
    "vendorID,lpepPickupDatetime,lpepDropoffDatetime,passengerCount,tripDistance,puLocationId,doLocationId,"
    "pickupLongitude,pickupLatitude,dropoffLongitude,dropoffLatitude,rateCodeID,storeAndFwdFlag,paymentType,"
    "fareAmount,extra,mtaTax,improvementSurcharge,tipAmount,tollsAmount,ehailFee,totalAmount,tripType"
)
YELLOW = (
    "vendorID,tpepPickupDateTime,tpepDropoffDateTime,passengerCount,tripDistance,puLocationId,doLocationId,"
    "startLon,startLat,endLon,endLat,rateCodeId,storeAndFwdFlag,paymentType,"
    "fareAmount,extra,mtaTax,improvementSurcharge,tipAmount,tollsAmount,totalAmount"
)
ROWS = 1000


def make_trip(dice: random.Random, centre: tuple[float, float]) -> list[object]:
    """One trip's values in the order both files share, up to totalAmount without the green-only columns."""
    start = datetime(2016, 1, 1) + timedelta(seconds=dice.randrange(30 * 24 * 3600))
    places = [dice.gauss(middle, 0.025) for middle in centre * 2]
    longitude, latitude, end_longitude, end_latitude = places
    miles = 1.3 * (((end_longitude - longitude) * 52.4) ** 2 + ((end_latitude - latitude) * 69.0) ** 2) ** 0.5
    miles = round(max(0.2, miles * dice.uniform(0.9, 1.2)), 2)
    minutes = 2 + miles * dice.uniform(3.5, 6.0)
    end = start + timedelta(seconds=round(minutes * 60))
    fare = round((2.5 + 2.1 * miles + 0.25 * minutes + dice.gauss(0, 0.5)) * 2) / 2
    broken = dice.random()
    if broken < 0.01:
        longitude = latitude = 0.0
    elif broken < 0.02:
        miles = 0.0
    elif broken < 0.03:
        fare = 0.0
    tip = round(fare * dice.choice((0, 0, 0.1, 0.2)), 2)
    flag = "Y" if dice.random() < 0.01 else "N"
    money = [fare, 0.5, 0.5, 0.3, tip, 0.0]
    return [
        dice.choice((1, 2)), start, end, dice.choice((1, 1, 1, 1, 2, 2, 3, 5)), miles, "", "",
        *(round(place, 6) for place in (longitude, latitude, end_longitude, end_latitude)),
        1, flag, dice.choice((1, 2)), *money, round(sum(money), 2),
    ]  # fmt: skip


def write(path: Path, header: str, centre: tuple[float, float], seed: int) -> None:
    """One file; green trips carry two more columns around the total."""
    dice = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(header.split(","))
        for _ in range(ROWS):
            trip = make_trip(dice, centre)
            rows.writerow([*trip[:-1], "", trip[-1], 1] if "ehailFee" in header else trip)


def write_sample(folder: Path) -> None:
    """Both files of the sample."""
    write(folder / "green_synthetic.csv", GREEN, (-73.93, 40.75), seed=1)
    write(folder / "yellow_synthetic.csv", YELLOW, (-73.975, 40.755), seed=2)


if __name__ == "__main__":
    write_sample(Path(__file__).parent / "data")
