"""What answering costs without a server: `process.py onnx FILE BODIES` or `process.py script FOLDER BODIES`.

For each number read from standard input, that many bodies are answered and two figures are written, in µs of
processor time: the whole way from a body to an answer's bytes, and the model's part of it, on a table that
is ready.
"""

import importlib.util
import json
import os
import sys
import time

import numpy


def open_onnx(file):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    given, wanted = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def predict(table):
        return session.run(wanted, {given: table})[0]

    def answer(body):
        table = numpy.array(json.loads(body)["data"], dtype=numpy.float64)
        return json.dumps(predict(table).reshape(-1).tolist()).encode()

    return answer, predict


def open_script(folder):
    os.environ["AZUREML_MODEL_DIR"] = os.path.join(folder, "model")
    spec = importlib.util.spec_from_file_location("score", os.path.join(folder, "score", "score.py"))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.init()
    return lambda body: json.dumps(script.run(body.decode())).encode(), script.model.predict


def measure(call, questions, times):
    began = time.process_time_ns()
    for number in range(times):
        call(questions[number % len(questions)])
    return (time.process_time_ns() - began) / 1000 / times


def main(kind, place, bodies):
    answer, predict = {"onnx": open_onnx, "script": open_script}[kind](place)
    with open(bodies, "rb") as file:
        asked = file.read().splitlines()
    tables = [numpy.array(json.loads(body)["data"]) for body in asked]
    measure(answer, asked, 100)
    for line in sys.stdin:
        times = int(line)
        print(measure(answer, asked, times), measure(predict, tables, times), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
