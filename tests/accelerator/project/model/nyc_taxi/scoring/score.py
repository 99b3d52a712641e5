"""Answers requests for fares."""

import json
import os
import pickle
import time

import numpy as np


def init():
    global model, rounding
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], os.environ["MODEL_FILE_NAME"])
    with open(path, "rb") as file:
        model = pickle.load(file)
    rounding = int(os.environ["CABS_ROUNDING"])


def run(raw_data):
    rows = np.array(json.loads(raw_data)["data"], dtype=float)
    keep(rows)
    return {"result": [round(float(fare), rounding + 10) for fare in model.predict(rows)]}


def keep(rows):
    folder = os.path.join(os.environ["MODEL_LOG_PATH"], str(int(time.time())))
    os.makedirs(folder, exist_ok=True)
    np.savetxt(os.path.join(folder, "inputs.csv"), rows)
