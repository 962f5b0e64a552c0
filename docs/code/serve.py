"""Serve an exported student: POST the columns of rows, get labels and probabilities."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI

TYPES = {"string": str, "bool": bool, "int64": int, "float": "f4", "double": "f8"}
session = onnxruntime.InferenceSession(os.environ["STUDENT"])
app = FastAPI()


@app.post("/predict")
def predict(columns: dict[str, list]):
    """Predict rows that are given as columns; what is missing is null."""
    feed = {}
    for entry in session.get_inputs():
        kind = entry.type.removeprefix("tensor(").removesuffix(")")
        gap = "" if kind == "string" else np.nan
        values = [gap if value is None else value for value in columns[entry.name]]
        feed[entry.name] = np.array(values, TYPES[kind]).reshape(len(values), -1)
    label, proba = session.run(["label", "probabilities"], feed)
    return {"label": label.tolist(), "probabilities": proba.tolist()}
