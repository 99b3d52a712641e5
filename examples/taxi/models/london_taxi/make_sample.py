"""Write the synthetic sample in data/: `python make_sample.py`. The same seed, the same bytes.

These are no real trips: invented ones within London's bounds, with a few broken rows, and a fare that follows
a meter with three tariffs (day, evening and weekend, night).
"""

import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

HEADER = (
    "trip_id,started_at,pickup_lat,pickup_lng,dropoff_lat,dropoff_lng,"
    "distance_km,tariff,passengers,payment,fare_gbp"
)
ROWS = 1500
PER_KM = {1: 2.15, 2: 2.55, 3: 3.05}
PER_MINUTE = 0.38


def choose_tariff(start: datetime) -> int:
    """3 at night, 2 in the evening and at weekends, 1 otherwise."""
    if start.hour >= 22 or start.hour < 5:
        return 3
    return 2 if start.weekday() >= 5 or start.hour >= 20 else 1


def make_trip(number: int, dice: random.Random) -> list[object]:
    """One trip in the order of the header."""
    start = datetime(2024, 3, 1) + timedelta(minutes=dice.randrange(60 * 24 * 60))
    lat, lng = dice.gauss(51.511, 0.025), dice.gauss(-0.125, 0.045)
    reach, way = dice.lognormvariate(0.9, 0.65), dice.uniform(0, 2 * math.pi)
    end_lat, end_lng = lat + reach / 111.2 * math.cos(way), lng + reach / 69.2 * math.sin(way)
    km = round(max(0.3, reach * dice.uniform(1.15, 1.5)), 2)
    tariff = choose_tariff(start)
    rush = 1.5 if tariff == 1 and start.hour in (7, 8, 9, 16, 17, 18) else 1.0
    minutes = 1.5 + km * dice.uniform(2.6, 3.6) * rush
    fare = round(max(4.2, 3.2 + PER_KM[tariff] * km + PER_MINUTE * minutes) * 5) / 5
    broken = dice.random()
    if broken < 0.01:
        lat = lng = 0.0
    elif broken < 0.02:
        km = 0.0
    elif broken < 0.03:
        tariff = 0
    return [
        number,
        start.strftime("%Y-%m-%d %H:%M"),
        *(f"{place:.6f}" for place in (lat, lng, end_lat, end_lng)),
        km,
        tariff,
        dice.choice((1, 1, 1, 2, 2, 3, 4)),
        dice.choice(("card", "card", "cash", "account")),
        f"{fare:.2f}",
    ]


def write_sample(folder: Path) -> None:
    """The sample's one file."""
    dice = random.Random(2024)
    with (folder / "trips_synthetic.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADER.split(","))
        for number in range(1, ROWS + 1):
            rows.writerow(make_trip(number, dice))


if __name__ == "__main__":
    write_sample(Path(__file__).parent / "data")
