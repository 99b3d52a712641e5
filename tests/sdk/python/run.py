"""Runs checks with azure-iot-hub and azure-iot-device; for an interpreter that has them.

Arguments: the files beside this one that hold the checks. First line of standard input: a JSON object with
the members of `Place` and `checks`, the names wanted. Says a JSON line for each check: its name and how long
it took when it held, else why it failed, or why it was skipped.
"""

import importlib
import json
import sys
import time
import traceback

from harness import CHECKS, Place, say
from msrest.exceptions import HttpOperationError

THROTTLED_S = 60


def main(files):
    given = json.loads(sys.stdin.readline())
    wanted = given.pop("checks")
    for file in files:
        importlib.import_module(file)
    place = Place(**given)
    try:
        for name in wanted:
            run(name, CHECKS[name], place)
    finally:
        if not place.is_here:
            place.sweep()


def run(name, function, place, again=True):
    """Says how one check went; after Azure's own throttling it is tried once more."""
    if function.here_only and not place.is_here:
        say(check=name, skipped="only our hub has this")
        return
    began = time.monotonic()
    try:
        function(place)
    except Exception as error:  # noqa: BLE001  whatever it is, the check has failed and the next one is due
        throttled = isinstance(error, HttpOperationError) and error.response.status_code == 429
        if throttled and again:
            time.sleep(THROTTLED_S)
            run(name, function, place, again=False)
            return
        body = error.response.text if isinstance(error, HttpOperationError) else ""
        say(check=name, failed=f"{traceback.format_exc()}{body}")
    else:
        say(check=name, s=round(time.monotonic() - began, 2))


if __name__ == "__main__":
    main(sys.argv[1:])
