"""Asks a model by name from a container of its network: so many a second, each on a connection of its own.

    python asker.py NAME RATE SECONDS

Ends at SIGTERM, or after SECONDS; then says as JSON how often what happened, and how long answers took. What
cannot be resolved, connected to, or does not answer 200 within 10 s, has failed. Standard library only.
"""

import collections
import json
import signal
import socket
import sys
import threading
import time

BODY = b'{"data": [[2.0, 7.0]]}'
REQUEST = b"POST /score HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
REQUEST += b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def ask(name: str) -> None:
    host = socket.getaddrinfo(name, 8080, type=socket.SOCK_STREAM)
    with socket.create_connection(host[0][4], timeout=10) as connection:
        connection.sendall(REQUEST)
        said = b""
        while part := connection.recv(65536):
            said += part
    if not said.startswith(b"HTTP/1.1 200"):
        raise OSError(f"answered {said[:40]!r}")


def main(name: str, rate: float, seconds: float) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    failures: collections.Counter[str] = collections.Counter()
    took: list[float] = []

    def one() -> None:
        began = time.monotonic()
        try:
            ask(name)
        except OSError as error:
            failures[repr(error)] += 1
        took.append(time.monotonic() - began)

    due = began = time.monotonic()
    threads = []
    while not ended.is_set() and due - began < seconds:
        threads.append(threading.Thread(target=one))
        threads[-1].start()
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        threads = [thread for thread in threads if thread.is_alive()]
    asked_for = time.monotonic() - began
    for thread in threads:
        thread.join(15)
    took.sort()
    said = {"asked": len(took), "failed": failures.total(), "failures": failures, "seconds": asked_for}
    print(json.dumps({**said, "p50": took[len(took) // 2], "most": took[-1]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
