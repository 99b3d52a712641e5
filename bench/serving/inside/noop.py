"""Our server's own HTTP and loop, and a constant answer: `noop.py PORT`, beside edgeferry's modules."""

import asyncio
import sys

from edgeferry.device.modules.http import HttpServer
from edgeferry.device.modules.server import _find_loop

ANSWER = b"[12.5]"


async def serve(port):
    server = HttpServer(lambda request: request.answer(200, ANSWER))
    await server.listen("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_find_loop()) as runner:
        runner.run(serve(int(sys.argv[1])))
