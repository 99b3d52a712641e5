"""The model as a BentoML service."""

import os
import pickle

import bentoml
import numpy


@bentoml.service(workers=1)
class Model:
    def __init__(self) -> None:
        with open(os.environ["MODEL_FILE"], "rb") as file:
            self.model = pickle.load(file)

    @bentoml.api
    def predict(self, data: list[list[float]]) -> list[float]:
        return self.model.predict(numpy.array(data)).tolist()
