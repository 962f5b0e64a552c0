"""Encode and impute columns in ONNX operators.

skl2onnx 1.20 encodes integers and strings alone: neither missing values, nor booleans,
nor rare categories that share a column. In a graph a number is missing as NaN and a
string as the empty string.
"""

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    StringTensorType,
)

from skadistill._utils.validation import is_missing
from skadistill.exceptions import ExportError
from skadistill.export._nodes import Nodes

__all__ = [
    "cast_to_output",
    "convert_function",
    "convert_imputer",
    "convert_one_hot",
    "convert_ordinal",
    "infer_encoder",
    "infer_function",
    "infer_imputer",
    "number_type",
    "set_numbers",
]

INT64 = TensorProto.INT64

# Functions that replace missing strings by empty ones, which they are in a graph.
FILLS = ("fillna", "fill_null", "fill_missing")


def number_type(operator):
    """Return numpy's type of the numbers that an operator gets."""
    double = any(isinstance(entry.type, DoubleTensorType) for entry in operator.inputs)
    return np.float64 if double else np.float32


def set_numbers(operator, width):
    """Set type and shape of the features."""
    double = number_type(operator) is np.float64
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs[0].type = kind([None, width])


def _columns_of(node, operator):
    """Yield each column of the inputs, and the type of its numbers or None."""
    for entry in operator.inputs:
        width = entry.type.shape[1]
        dtype: type | None = np.float32
        if isinstance(entry.type, DoubleTensorType):
            dtype = np.float64
        elif isinstance(entry.type, StringTensorType):
            dtype = None
        for place in range(width):
            name = entry.full_name
            if width > 1:
                name = node("Gather", name, node.constant([place]), axis=1)
            yield name, dtype


def _join(node, parts):
    """Put columns beside each other."""
    return parts[0] if len(parts) == 1 else node("Concat", *parts, axis=1)


def cast_to_output(node, operator, features):
    """Cast features to the type that was inferred for them."""
    output = operator.outputs[0]
    double = isinstance(output.type, DoubleTensorType)
    to = TensorProto.DOUBLE if double else TensorProto.FLOAT
    node("Cast", features, to=to, output=output.full_name)


def infer_encoder(operator, double):
    """Set type and shape of encoded columns, which strings alone do not tell."""
    encoder = operator.raw_operator
    width = len(encoder.categories_)
    if hasattr(encoder, "drop_idx_"):
        width = len(encoder.get_feature_names_out())
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs[0].type = kind([None, width])


def convert_one_hot(scope, operator, container):
    """Convert a `OneHotEncoder`: one column per category, missing values included."""
    encoder = operator.raw_operator
    node = Nodes(scope, container)
    parts = []
    for number, (column, dtype) in enumerate(_columns_of(node, operator)):
        categories = encoder.categories_[number]
        groups = _groups(encoder, number)
        code = _codes(
            node, column, dtype, categories, groups, _other(encoder, number, groups)
        )
        kept = [n for n in range(max(groups) + 1) if n != _dropped(encoder, number)]
        parts.append(node("Equal", code, node.constant([kept])))
    cast_to_output(node, operator, _join(node, parts))


def _groups(encoder, number):
    """Return the place of each category among the columns of the output."""
    mappings = getattr(encoder, "_default_to_infrequent_mappings", None)
    if mappings is not None and mappings[number] is not None:
        return mappings[number].tolist()
    return list(range(len(encoder.categories_[number])))


def _other(encoder, number, groups):
    """Return the place of a category that no row had when the encoder was fitted."""
    if encoder.handle_unknown not in ("infrequent_if_exist", "warn"):
        return -1
    rare = getattr(encoder, "infrequent_categories_", None)
    return -1 if rare is None or rare[number] is None else max(groups)


def _dropped(encoder, number):
    """Return the place of the category that has no column; None if all have one."""
    if encoder.drop_idx_ is None or encoder.drop_idx_[number] is None:
        return None
    # Counted after rare categories were put together.
    return int(encoder._drop_idx_after_grouping[number])


def convert_ordinal(scope, operator, container):
    """Convert an `OrdinalEncoder`."""
    encoder = operator.raw_operator
    node = Nodes(scope, container)
    parts = []
    for number, (column, dtype) in enumerate(_columns_of(node, operator)):
        categories, groups = encoder.categories_[number], _groups(encoder, number)
        values = list(map(float, range(max(groups) + 1)))
        missing = encoder._missing_indices.get(number)  # NaN only, not None
        if missing is not None:
            groups = [*groups[:missing], len(values)]
            values.append(float(encoder.encoded_missing_value))
        # The last one is read by -1.
        known = encoder.handle_unknown != "use_encoded_value"
        values.append(np.nan if known else float(encoder.unknown_value))
        code = _codes(node, column, dtype, categories, groups, -1)
        parts.append(node("Gather", node.constant(np.array(values)), code))
    cast_to_output(node, operator, _join(node, parts))


def _codes(node, column, dtype, categories, groups, other):
    """Return the place of each value among the categories, or `other`."""
    missing = [g for g, c in zip(groups, categories, strict=True) if is_missing(c)]
    known = [
        (c, g) for g, c in zip(groups, categories, strict=True) if not is_missing(c)
    ]
    if dtype is None:
        table = {str(category): group for category, group in known}
        if missing:
            table[""] = missing[0]
        return node(
            "LabelEncoder",
            column,
            domain="ai.onnx.ml",
            keys_strings=list(table),
            values_int64s=list(table.values()),
            default_int64=other,
        )
    values = np.array([category for category, _ in known]).astype(dtype)
    places = np.array([group - other for _, group in known], dtype=np.int64)
    same = node("Cast", node("Equal", column, node.constant(values)), to=INT64)
    code = node("MatMul", same, node.constant(places[:, None]))
    code = node("Add", code, node.constant([other]))
    if missing:
        code = node("Where", node("IsNaN", column), node.constant(missing), code)
    return code


def convert_imputer(scope, operator, container):
    """Convert a `SimpleImputer` of numbers or strings, with its indicator."""
    imputer = operator.raw_operator
    node = Nodes(scope, container)
    X = _join(node, [entry.full_name for entry in operator.inputs])
    fills, marker = imputer.statistics_, imputer.missing_values
    if isinstance(operator.inputs[0].type, StringTensorType):
        dtype = None
        missing = node(
            "LabelEncoder",
            X,
            domain="ai.onnx.ml",
            keys_strings=["" if is_missing(marker) else str(marker)],
            values_int64s=[1],
            default_int64=0,
        )
        missing = node("Cast", missing, to=TensorProto.BOOL)
        fills = fills.astype(str)
    else:
        dtype = number_type(operator)
        if is_missing(marker):
            missing = node("IsNaN", X)
        else:
            missing = node("Equal", X, node.constant(dtype(marker)))
        fills = fills.astype(dtype)
    filled = node("Where", missing, node.constant(fills[None]), X)
    kept = _kept(imputer)
    if len(kept) < len(fills):
        filled = node("Gather", filled, node.constant(kept), axis=1)
    if imputer.add_indicator:
        if dtype is None:
            raise ExportError(
                "SimpleImputer(add_indicator=True) of strings cannot be exported as an "
                "ONNX graph; use False, or save the model with joblib or skops."
            )
        places = imputer.indicator_.features_.astype(np.int64)
        marks = node("Gather", missing, node.constant(places), axis=1)
        filled = node("Concat", filled, node("CastLike", marks, filled), axis=1)
    node("Identity", filled, output=operator.outputs[0].full_name)


def _kept(imputer):
    """Return the places of the columns that had a value to be filled with."""
    return [n for n, fill in enumerate(imputer.statistics_) if not is_missing(fill)]


def infer_imputer(operator):
    """Set type and shape of imputed columns."""
    imputer = operator.raw_operator
    width = len(_kept(imputer))
    if imputer.add_indicator:
        width += len(imputer.indicator_.features_)
    if isinstance(operator.inputs[0].type, StringTensorType):
        operator.outputs[0].type = StringTensorType([None, width])
    else:
        set_numbers(operator, width)


def infer_function(operator):
    """Set type and shape of columns that stay as they are."""
    entry = operator.inputs[0].type
    width = sum(other.type.shape[1] for other in operator.inputs)
    operator.outputs[0].type = type(entry)([None, width])


def convert_function(scope, operator, container):
    """Convert a `FunctionTransformer` that leaves the values of a graph as they are."""
    step = operator.raw_operator
    name = getattr(step.func, "__name__", "")
    texts = isinstance(operator.inputs[0].type, StringTensorType)
    fills = name in FILLS and (step.kw_args or {}).get("value") == ""
    casts = name == "astype" and (step.kw_args or {}).get("dtype") == "str"
    if step.func is not None and not (texts and (fills or casts)):
        raise ExportError(
            f"FunctionTransformer({name}) cannot be exported as an ONNX graph; use a "
            "step that skl2onnx converts, or save the model with joblib or skops."
        )
    node = Nodes(scope, container)
    joined = _join(node, [entry.full_name for entry in operator.inputs])
    node("Identity", joined, output=operator.outputs[0].full_name)
