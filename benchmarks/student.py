"""Compare StudentNet with plain skorch and with a torch loop written by hand.

Run ``python benchmarks/student.py [--save] [--repeats N]``. All three train the
same module with the same optimizer, batch size, number of epochs and a new order
of rows in each epoch, and predict the same rows. They take turns within each
repeat, so that other work on the machine hits all of them alike; the table shows
the median over repeats of the ratio within a repeat, with an interval from the
bootstrap. The loop gathers each batch from the table by its shuffled indices, as
loops usually do.
"""

import argparse
import sys
import time
from functools import partial

import numpy as np
import torch
from _common import machine_lines, markdown_table, save_result
from skorch import NeuralNetClassifier
from torch import nn

from skadistill.student import SoftCrossEntropy, StudentMLP, StudentNet
from skadistill.student._module import Standardize

# rows, columns, classes, batch size, epochs, hidden widths
SHAPES = [
    (2_000, 16, 26, 64, 6, (64, 64)),
    (2_000, 16, 26, 128, 6, (256, 256)),
    (50_000, 64, 10, 256, 1, (256, 256)),
]
LR = 1e-3
PREDICT_BLOCK = 4096


def make_table(n_samples, n_columns, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_columns)).astype(np.float32)
    y = (X @ rng.normal(size=(n_columns, n_classes))).argmax(axis=1)
    return X, y


class Scaled(nn.Sequential):
    """The default student with its scaling layer, for all three."""

    def __init__(self, n_columns, n_classes, widths):
        super().__init__(
            Standardize(torch.zeros(n_columns), torch.ones(n_columns)),
            StudentMLP(n_columns, n_classes, hidden_sizes=widths),
        )


def fit_loop(X, y, classes, batch_size, epochs, widths):
    """Train as one would by hand."""
    module = Scaled(X.shape[1], classes, widths)
    optimizer = torch.optim.AdamW(module.parameters(), lr=LR, fused=True)
    criterion = SoftCrossEntropy()
    X = torch.from_numpy(X)
    targets = nn.functional.one_hot(torch.from_numpy(y), classes).float()
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for start in range(0, len(X), batch_size):
            index = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = criterion(module(X[index]), targets[index]).mean()
            loss.backward()
            optimizer.step()
    return module


def predict_loop(module, X):
    module.eval()
    X = torch.from_numpy(X)
    out = []
    with torch.inference_mode():
        for start in range(0, len(X), PREDICT_BLOCK):
            logits = module(X[start : start + PREDICT_BLOCK])
            out.append(torch.softmax(logits, dim=1))
    return torch.cat(out).numpy()


def fit_student(X, y, classes, batch_size, epochs, widths):
    net = StudentNet(
        module=Scaled,
        module__n_columns=X.shape[1],
        module__n_classes=classes,
        module__widths=widths,
        lr=LR,
        batch_size=batch_size,
        max_epochs=epochs,
        random_state=0,
        device="cpu",
    )
    return net.fit(X, y)


def fit_skorch(X, y, classes, batch_size, epochs, widths):
    net = NeuralNetClassifier(
        Scaled,
        module__n_columns=X.shape[1],
        module__n_classes=classes,
        module__widths=widths,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__fused=True,
        lr=LR,
        batch_size=batch_size,
        max_epochs=epochs,
        train_split=None,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=PREDICT_BLOCK,
        verbose=0,
    )
    return net.fit(X, y)


FIT = {"loop": fit_loop, "student": fit_student, "skorch": fit_skorch}


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def one_repeat(shape, rng, with_skorch):
    n_samples, n_columns, n_classes, *settings = shape
    X, y = make_table(n_samples, n_columns, n_classes)
    seconds, predict = {}, {}
    names = [n for n in FIT if n != "skorch" or with_skorch]
    for name in rng.permutation(names):
        seconds[name, "fit"], model = timed(FIT[name], X, y, n_classes, *settings)
        predict[name] = (
            partial(predict_loop, model) if name == "loop" else model.predict_proba
        )
        predict[name](X[:10])
        seconds[name, "predict"] = 0.0
    for _ in range(max(1, 20_000 // n_samples)):
        for name in rng.permutation(names):
            seconds[name, "predict"] += timed(predict[name], X)[0]
    return seconds


def median_interval(ratios, rng, level=0.95):
    """Median with a bootstrap interval."""
    ratios = np.asarray(ratios)
    draws = rng.choice(ratios, size=(2000, len(ratios))).copy()
    low, high = np.quantile(
        np.median(draws, axis=1), [(1 - level) / 2, (1 + level) / 2]
    )
    return np.median(ratios), low, high


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--skorch-every", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    rows = []
    for shape in SHAPES:
        one_repeat(shape, rng, with_skorch=False)  # warm up
        runs = [
            one_repeat(shape, rng, with_skorch=i % options.skorch_every == 0)
            for i in range(options.repeats)
        ]
        n_samples, n_columns, n_classes, batch_size, epochs, widths = shape
        label = (
            f"{n_samples:,} x {n_columns}, C={n_classes}, batch {batch_size}, "
            f"hidden {widths[0]}, {widths[1]}"
        )
        for part in ("fit", "predict"):
            count = n_samples * (
                epochs if part == "fit" else max(1, 20_000 // n_samples)
            )
            loop = np.median([count / r["loop", part] for r in runs])
            cells = [label, part, f"{loop:,.0f}"]
            for name in ("student", "skorch"):
                ratios = [
                    r[name, part] / r["loop", part] for r in runs if (name, part) in r
                ]
                mid, low, high = median_interval(ratios, rng)
                cells.append(f"{mid:.2f} ({low:.2f} to {high:.2f})")
            rows.append(cells)
            print(*cells, sep=" | ", file=sys.stderr)
    header = [
        "Table",
        "Part",
        "Loop, rows/s",
        "StudentNet / loop, time",
        "skorch / loop, time",
    ]
    text = "\n".join(
        [
            "# StudentNet against plain skorch and a torch loop",
            "",
            "Ratios of time within a repeat, median over repeats and 95 % bootstrap "
            "interval; 1 is the torch loop written by hand, and lower is faster.",
            "The bar is 1.15 for StudentNet.",
            f"Repeats: {options.repeats} (skorch: every {options.skorch_every}th), "
            f"torch threads: {options.threads}.",
            "Made by `python benchmarks/student.py --save`.",
            "",
            markdown_table(header, rows),
            "",
            *[f"- {line}" for line in machine_lines()],
        ]
    )
    if options.save:
        save_result("student.md", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
