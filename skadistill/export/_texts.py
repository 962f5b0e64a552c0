r"""Texts as counts of words or letters, in ONNX operators.

skl2onnx 1.20 computes ``log(1 + tf)`` for scikit-learn's ``1 + log(tf)``, knows words
of English letters only, and does not shorten gaps between letters.
"""

import re

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

from skadistill.exceptions import ExportError
from skadistill.export._columns import cast_to_output, number_type
from skadistill.export._nodes import Nodes

__all__ = ["convert_counts", "convert_weights", "infer_counts"]

ML, MS = "ai.onnx.ml", "com.microsoft"
# Python's \w, for RE2, whose own one knows only English letters.
WORD = r"[\p{L}\p{N}_]"
PATTERNS = {r"(?u)\b\w\w+\b": f"{WORD}{WORD}+", r"(?u)\b\w+\b": f"{WORD}+"}
SPACES = [chr(code) for code in range(0x3001) if re.match(r"\s", chr(code))]
# Tokens outside the vocabulary, and the end of a row.
UNKNOWN, END = -1, -2


def infer_counts(operator, double):
    """Set type and shape of counts or weights, which texts alone do not tell."""
    width = len(operator.raw_operator.vocabulary_)
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs[0].type = kind([None, width])


def convert_counts(scope, operator, container):
    """Convert a `CountVectorizer` or `TfidfVectorizer`."""
    vectorizer = operator.raw_operator
    _check(vectorizer)
    node = Nodes(scope, container)
    texts = node("Reshape", operator.inputs[0].full_name, node.constant([-1]))
    if vectorizer.lowercase:
        texts = node("StringNormalizer", texts, case_change_action="LOWER")
    tokens, vocabulary = _tokens(node, texts, vectorizer)
    counts = _count(node, tokens, vocabulary, vectorizer)
    if vectorizer.binary:
        counts = node("Min", counts, node.constant(np.float32(1)))
    if hasattr(vectorizer, "sublinear_tf"):
        double = isinstance(operator.outputs[0].type, DoubleTensorType)
        double &= vectorizer.dtype == np.float64
        counts = _weight(node, counts, vectorizer, np.float64 if double else np.float32)
    cast_to_output(node, operator, counts)


def convert_weights(scope, operator, container):
    """Convert a `TfidfTransformer`."""
    node = Nodes(scope, container)
    dtype = number_type(operator)
    weights = _weight(node, operator.inputs[0].full_name, operator.raw_operator, dtype)
    cast_to_output(node, operator, weights)


def _check(vectorizer):
    """Raise for what the graph cannot do with texts."""
    if callable(vectorizer.analyzer) or vectorizer.analyzer == "char_wb":
        _refuse(vectorizer, "analyzer", "use 'word' or 'char'")
    for name in ("preprocessor", "tokenizer", "strip_accents"):
        if getattr(vectorizer, name) is not None:
            _refuse(vectorizer, name, "use None")


def _refuse(vectorizer, name, way):
    raise ExportError(
        f"{type(vectorizer).__name__}({name}={getattr(vectorizer, name)!r}) cannot be "
        f"exported as an ONNX graph; {way}, or save the model with joblib or skops."
    )


def _tokens(node, texts, vectorizer):
    """Return the tokens of each row as numbers, and the number of each token."""
    if vectorizer.analyzer == "char":
        grams = [tuple(gram) for gram in vectorizer.vocabulary_]
        how = {"separators": [""]}
        dropped = {}
    else:
        grams = [tuple(gram.split(" ")) for gram in vectorizer.vocabulary_]
        pattern = vectorizer.token_pattern
        how = {"tokenexp": PATTERNS.get(pattern, pattern.replace(r"\w", WORD))}
        dropped = dict.fromkeys(vectorizer.get_stop_words() or (), 1)
    known = sorted({token for gram in grams for token in gram})
    vocabulary = {token: number for number, token in enumerate(known)}
    # A private letter marks the ends of shorter rows.
    end = "\ue000\ue000"
    tokens = node(
        "Tokenizer", texts, domain=MS, mark=0, mincharnum=1, pad_value=end, **how
    )
    numbers = _map(node, tokens, vocabulary | {end: END}, UNKNOWN)
    if dropped:
        numbers = _drop(node, numbers, _map(node, tokens, dropped, 0))
    elif vectorizer.analyzer == "char":
        numbers = _shorten_gaps(node, tokens, numbers, vocabulary.get(" ", UNKNOWN))
    return numbers, vocabulary


def _map(node, tokens, numbers, default):
    """Return the number of each token."""
    return node(
        "LabelEncoder",
        tokens,
        domain=ML,
        keys_strings=list(numbers),
        values_int64s=list(numbers.values()),
        default_int64=default,
    )


def _shorten_gaps(node, tokens, numbers, blank):
    """Make one blank of several spaces in a row; a single one stays as it is."""
    space = _map(node, tokens, dict.fromkeys(SPACES, 1), 0)
    start, one, last, end = (
        node.constant([place]) for place in (0, 1, -1, np.iinfo(np.int64).max)
    )
    edge = node("Mul", node("Slice", space, start, one, one), start)
    before = node("Concat", edge, node("Slice", space, start, last, one), axis=1)
    after = node("Concat", node("Slice", space, one, end, one), edge, axis=1)
    repeated = node("Mul", space, before)
    begins_gap = node("Mul", node("Mul", space, after), node("Sub", one, repeated))
    begins_gap = node("Cast", begins_gap, to=TensorProto.BOOL)
    numbers = node("Where", begins_gap, node.constant([blank]), numbers)
    return _drop(node, numbers, repeated)


def _drop(node, numbers, dropped):
    """Remove the tokens that are marked by 1; the others move up."""
    one, axis = node.constant([1]), node.constant(np.int64(1))
    kept = node("Sub", one, dropped)
    place = node("Sub", node("CumSum", kept, axis), one)
    width = node("Slice", node("Shape", numbers), one, node.constant([2]))
    # Removed tokens all go to one more column, which ends the row.
    isdropped = node("Cast", dropped, to=TensorProto.BOOL)
    place = node("Where", isdropped, width, place)
    rows = node("Slice", node("Shape", numbers), node.constant([0]), one)
    shape = node("Concat", rows, node("Add", width, one), axis=0)
    empty = node("Expand", node.constant([END]), shape)
    values = node("Where", isdropped, node.constant([END]), numbers)
    return node("ScatterElements", empty, place, values, axis=1)


def _count(node, tokens, vocabulary, vectorizer):
    """Return how often each row has each sequence of tokens."""
    low, high = vectorizer.ngram_range
    by_length: dict = {length: [] for length in range(1, high + 1)}
    split = tuple if vectorizer.analyzer == "char" else lambda gram: gram.split(" ")
    for gram, column in vectorizer.vocabulary_.items():
        parts = [vocabulary[token] for token in split(gram)]
        by_length.setdefault(len(parts), []).append((parts, int(column)))
    if max(by_length) > high:
        _refuse(vectorizer, "token_pattern", "use one of words without blanks")
    pool: list[int] = []
    starts, columns = [], []
    for length in range(1, high + 1):
        starts.append(len(pool))
        for parts, column in by_length[length]:
            pool += parts
            columns.append(column)
    return node(
        "TfIdfVectorizer",
        tokens,
        mode="TF",
        min_gram_length=low,
        max_gram_length=high,
        max_skip_count=0,
        pool_int64s=pool,
        ngram_counts=starts,
        ngram_indexes=columns,
    )


def _weight(node, counts, tfidf, dtype):
    """Weight counts as `TfidfTransformer` does."""
    one = node.constant(dtype(1))
    counts = node("CastLike", counts, one)
    if tfidf.sublinear_tf:
        # 1 + log(n) for n > 0, and 0 for 0.
        logs = node("Log", node("Max", counts, one))
        counts = node("Add", logs, node("Min", counts, one))
    if tfidf.use_idf:
        counts = node("Mul", counts, node.constant(tfidf.idf_.astype(dtype)))
    if tfidf.norm is not None:
        kind = {"l1": "ReduceL1", "l2": "ReduceL2"}[tfidf.norm]
        norm = node(kind, counts, node.constant([1]))
        empty = node("Equal", norm, node.constant(dtype(0)))
        counts = node("Div", counts, node("Where", empty, one, norm))
    return counts
