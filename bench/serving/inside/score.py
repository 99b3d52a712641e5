"""A scoring script as Azure ML takes it, served untouched by Azure ML's server and by ours."""

import json
import os
import pickle

import numpy


def init():
    global model
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.pkl"), "rb") as file:
        model = pickle.load(file)


def run(raw_data):
    rows = numpy.array(json.loads(raw_data)["data"])
    return {"result": model.predict(rows).tolist()}
