"""`edgeferry`, and `python -m edgeferry`."""

import signal


def main() -> None:
    """Runs the command line. Ctrl-C while it is still being read in ends it without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from edgeferry.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
