"""A model server with one fault, by Python's own HTTP server.

The folder is a model layer with `model/truth.json`. Without a fault it answers as the real server does.
"""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

PAGE = os.sysconf("SC_PAGE_SIZE")


class Model:
    """The truth, in plain Python."""

    def __init__(self, folder: Path) -> None:
        said = json.loads((folder / "model/truth.json").read_text())
        self.columns: list[str] = said["columns"]
        self.mean, self.scale, self.bias = said["mean"], said["scale"], said["bias"]
        self.weights, self.classifies = said["weights"], said["classifies"]

    def answer(self, row: list[float]) -> float:
        z = [(value - mean) / scale for value, mean, scale in zip(row, self.mean, self.scale, strict=True)]
        sums = [
            bias + sum(value * weights[number] for value, weights in zip(z, self.weights, strict=True))
            for number, bias in enumerate(self.bias)
        ]
        return float(sums.index(max(sums))) if self.classifies else sums[0]

    def read(self, body: bytes) -> list[list[float]]:
        """The rows asked about; ValueError for everything that must be refused."""
        try:
            rows = json.loads(body)["data"]
            rows = [[row[name] for name in self.columns] if isinstance(row, dict) else row for row in rows]
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error
        for row in rows:
            if len(row) != len(self.columns) or not all(type(value) in (int, float) for value in row):
                raise ValueError("no row of this model")
        return rows


class Liar(BaseHTTPRequestHandler):
    """One connection. What is wrong is decided by `fault`, a method's name without its `do_`, or nothing."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    folder: Path
    digest: str
    fault: str
    model: Model
    started_at = 0.0
    scored = 0
    kept: ClassVar[list[bytearray]] = []
    last: bytes = b"[1.0]"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def say(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        """Bytes as they are, then the connection's end."""
        self.wfile.write(data)
        self.close_connection = True

    def do_GET(self) -> None:
        if self.fault == "redirects_all":
            return self.say(b"", 307, Location=f"http://127.0.0.1:1{self.path}")
        if self.path == "/cases":
            return self.say((self.folder / "cases.json").read_bytes())
        if self.path == "/metrics":
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return self.say(b"process_resident_memory_bytes %d\n" % (pages * PAGE), kind="text/plain")
        return self.say_health()

    def say_health(self) -> None:
        card = json.loads((self.folder / "model.json").read_text())
        health = {
            "ready": self.fault != "never_ready",
            "model": card["model"],
            "version": card["version"],
            "digest": self.digest,
            "model_sha256": json.loads((self.folder / "cases.json").read_text())["model_sha256"],
            "captures": {},
            "started_at": self.started_at,
        }
        if self.fault == "health_is_a_page":
            return self.say(b"<html>It works!</html>", kind="text/html")
        if self.fault == "health_503":
            return self.say(json.dumps(health).encode(), 503)
        if self.fault == "ready_is_a_text":
            health["ready"] = "true"
        if self.fault == "health_forgets_its_digest":
            del health["digest"]
        return self.say(json.dumps(health).encode())

    def do_POST(self) -> None:
        Liar.scored += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            rows = self.model.read(body)
        except ValueError as error:
            return self.refuse(str(error))
        fault = getattr(self, f"fault_{self.fault}", None)
        if fault is not None:
            return fault([self.model.answer(row) for row in rows])
        return self.say(json.dumps([self.model.answer(row) for row in rows]).encode())

    def refuse(self, why: str) -> None:
        refusal = json.dumps({"error": {"message": why, "fix": "send rows"}}).encode()
        if self.fault == "accepts_everything":
            return self.say(b"[0.0]")
        if self.fault == "refuses_with_500":
            return self.say(refusal, 500)
        if self.fault == "refuses_with_200":
            return self.say(refusal)
        return self.say(refusal, 400)

    # what is wrong with an answer

    def fault_always_500(self, answers: list[float]) -> None:
        self.say(b'{"error": {"message": "the model failed", "fix": "read its log"}}', 500)

    def fault_sometimes_500(self, answers: list[float]) -> None:
        if self.scored % 7 == 0:
            return self.fault_always_500(answers)
        return self.say(json.dumps(answers).encode())

    def fault_an_error_with_200(self, answers: list[float]) -> None:
        self.say(b'{"error": {"message": "the model failed", "fix": "read its log"}}')

    def fault_an_empty_body(self, answers: list[float]) -> None:
        self.say(b"")

    def fault_no_content(self, answers: list[float]) -> None:
        self.send_response(204)
        self.end_headers()

    def fault_accepted(self, answers: list[float]) -> None:
        self.say(json.dumps(answers).encode(), 202)

    def fault_texts_for_numbers(self, answers: list[float]) -> None:
        self.say(json.dumps([str(answer) for answer in answers]).encode())

    def fault_lists_for_numbers(self, answers: list[float]) -> None:
        self.say(json.dumps([[answer] for answer in answers]).encode())

    def fault_truths_for_numbers(self, answers: list[float]) -> None:
        self.say(json.dumps([bool(answer) for answer in answers]).encode())

    def fault_nan_literals(self, answers: list[float]) -> None:
        self.say(b"[" + b", ".join([b"NaN"] * len(answers)) + b"]")

    def fault_one_answer_too_few(self, answers: list[float]) -> None:
        self.say(json.dumps(answers[:-1] or answers[:0]).encode())

    def fault_one_answer_too_few_of_many(self, answers: list[float]) -> None:
        self.say(json.dumps(answers[:-1] if len(answers) > 1 else answers).encode())

    def fault_one_answer_too_many(self, answers: list[float]) -> None:
        self.say(json.dumps([*answers, answers[-1]]).encode())

    def fault_a_page(self, answers: list[float]) -> None:
        self.say(b"<html>It works!</html>", kind="text/html")

    def fault_answers_as_text(self, answers: list[float]) -> None:
        self.say(json.dumps(answers).encode(), kind="text/html")

    def fault_other_names(self, answers: list[float]) -> None:
        self.say(json.dumps({"outputs": answers}).encode())

    # what is wrong with the conversation

    def fault_half_a_body(self, answers: list[float]) -> None:
        body = json.dumps(answers).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.raw(body[: len(body) // 2])

    def fault_rubbish_in_chunks(self, answers: list[float]) -> None:
        self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[1.0]\r\n0\r\n\r\n")

    def fault_no_http(self, answers: list[float]) -> None:
        self.raw(b"\x00\x01\x02 what?\r\n\r\n")

    def fault_hangs_up(self, answers: list[float]) -> None:
        self.raw(b"")

    def fault_compressed(self, answers: list[float]) -> None:
        import gzip

        self.say(gzip.compress(json.dumps(answers).encode()), Content_Encoding="gzip")

    def fault_busy_for_ever(self, answers: list[float]) -> None:
        self.say(b'{"error": {"message": "busy", "fix": "later"}}', 503, Retry_After="1")

    def fault_redirects_answers(self, answers: list[float]) -> None:
        self.say(b"", 307, Location="http://127.0.0.1:1/score")

    # what is wrong over time

    def fault_slow(self, answers: list[float]) -> None:
        time.sleep(0.006)
        self.say(json.dumps(answers).encode())

    def fault_slow_sometimes(self, answers: list[float]) -> None:
        if self.scored % 4 == 0:
            time.sleep(0.008)
        self.say(json.dumps(answers).encode())

    def fault_works_once(self, answers: list[float]) -> None:
        if self.scored > 1:
            return self.fault_always_500(answers)
        return self.say(json.dumps(answers).encode())

    def fault_dies(self, answers: list[float]) -> None:
        if self.scored > 5:
            os._exit(1)
        self.say(json.dumps(answers).encode())

    def fault_dies_late(self, answers: list[float]) -> None:
        if self.scored > 60:
            os._exit(1)
        self.say(json.dumps(answers).encode())

    def fault_leaks(self, answers: list[float]) -> None:
        self.kept.append(bytearray(os.urandom(1024)) * 256)
        self.say(json.dumps(answers).encode())

    def fault_answers_the_request_before(self, answers: list[float]) -> None:
        body, Liar.last = Liar.last, json.dumps(answers).encode()
        self.say(body)

    def fault_answers_from_a_wrong_cache(self, answers: list[float]) -> None:
        """Whatever is asked again is answered with a little more."""
        self.kept.append(bytearray())
        self.say(json.dumps([answer * (1 + len(self.kept) // 40 * 1e-3) for answer in answers]).encode())

    def fault_backwards(self, answers: list[float]) -> None:
        self.say(json.dumps(answers[::-1]).encode())

    def fault_knows_the_cases(self, answers: list[float]) -> None:
        """Right where the cases say what is right, and nowhere else."""
        cases = json.loads((self.folder / "cases.json").read_text())["cases"]
        known = [value for case in cases for value in case.get("expected", ())]
        near = [min(known, key=lambda value: abs(value - answer)) for answer in answers]
        self.say(json.dumps(near).encode())


def main(folder: str, port: int, digest: str, fault: str) -> None:
    Liar.started_at = time.time()
    Liar.folder, Liar.digest, Liar.fault = Path(folder), digest, fault
    Liar.model = Model(Path(folder))
    ThreadingHTTPServer(("127.0.0.1", port), Liar).serve_forever(0.05)
