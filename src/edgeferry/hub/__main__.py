"""`python -m edgeferry.hub`: one hub in the foreground."""

from __future__ import annotations

import argparse
import sys
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from edgeferry.errors import EdgeferryError
from edgeferry.hub.logs import LEVELS
from edgeferry.hub.messages import DEFAULT_BOUNDS, Bounds
from edgeferry.hub.server import Limits, Options, Port443, run


def main() -> int:
    """The exit code: 0 after a stop that was asked for, 3 when it cannot serve."""
    parser = argparse.ArgumentParser(prog="python -m edgeferry.hub", description="A local IoT Hub.")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where it keeps everything")
    parser.add_argument(
        "--address",
        action="append",
        required=True,
        type=_address,
        help="IPv4 address to listen on; may be repeated, the first names the hub",
    )
    parser.add_argument("--https-port", type=int, default=8443, help="service REST (default %(default)s)")
    parser.add_argument("--mqtt-port", type=int, default=8883, help="device MQTT (default %(default)s)")
    parser.add_argument(
        "--port-443",
        choices=list(Port443),
        default=Port443.OFF,
        type=Port443,
        help="service REST on 443 too: if it may (auto), not at all (off), or not start without (required)",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="name for the certificate; may be repeated, the first is what connection strings say",
    )
    parser.add_argument(
        "--limits",
        choices=list(Limits),
        default=Limits.DEFAULT,
        type=Limits,
        help="Azure's sizes and counts (default), none (off), its rates as well (azure)",
    )
    parser.add_argument("--log-level", choices=list(LEVELS), default="info")
    bounds = DEFAULT_BOUNDS
    for name, unit in (("count", "messages"), ("bytes", "bytes"), ("age", "seconds")):
        parser.add_argument(
            f"--messages-{name}",
            type=_amount,
            default={"count": bounds.count, "bytes": bounds.size_bytes, "age": int(bounds.age_s)}[name],
            metavar="N",
            help=f"telemetry is kept up to so many {unit} (default %(default)s)",
        )
    given = parser.parse_args()
    options = Options(
        given.state,
        tuple(dict.fromkeys(given.address)),
        given.https_port,
        given.mqtt_port,
        Bounds(given.messages_count, given.messages_bytes, given.messages_age),
        given.port_443,
        tuple(dict.fromkeys(given.name)),
        given.limits,
        LEVELS[given.log_level],
    )
    try:
        run(options)
    except EdgeferryError as error:
        sys.stderr.write(f"edgeferry hub: {error}\n")
        return error.exit_code
    return 0


def _address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 address") from error


def _amount(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
