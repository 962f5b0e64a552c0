"""Add a student's labels to a CSV file of any length: GRAPH ROWS.csv RESULT.csv."""

import sys

import onnxruntime
import pandas as pd

TYPES = {"string": str, "bool": bool, "int64": int, "float": "f4", "double": "f8"}


def score(graph, source, target, chunk=10_000):
    """Write the rows of a file, with a label and its probability, to another."""
    session = onnxruntime.InferenceSession(graph)
    for number, frame in enumerate(pd.read_csv(source, chunksize=chunk)):
        feed = {}
        for entry in session.get_inputs():
            kind = entry.type.removeprefix("tensor(").removesuffix(")")
            column = frame[entry.name]
            column = column.fillna("") if kind == "string" else column
            feed[entry.name] = column.to_numpy().astype(TYPES[kind])[:, None]
        label, proba = session.run(["label", "probabilities"], feed)
        frame = frame.assign(label=label, probability=proba.max(axis=1))
        frame.to_csv(target, mode="a", header=number == 0, index=False)


if __name__ == "__main__":
    score(*sys.argv[1:])
