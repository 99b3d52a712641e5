"""The same, and it keeps what it was asked: a folder per second, two CSV files of fixed names in it.

What the reference accelerator does to collect data on a device, written anew: of all requests in one second
the last one stays.
"""

import csv
import json
import os
import pickle
from datetime import datetime

import numpy


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as file:
        model = pickle.load(file)


def run(raw_data):
    rows = numpy.array(json.loads(raw_data)["data"])
    answers = model.predict(rows)
    folder = os.path.join(os.environ["MODEL_LOG_PATH"], datetime.now().strftime("%Y%m%d%H%M%S"))
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "inputs.csv"), rows)
    write(os.path.join(folder, "outputs.csv"), answers.reshape(-1, 1))
    return {"result": answers.tolist()}


def write(path, table):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(table)
