"""Trees: scikit-learn's boosting, that of three other packages, and forests."""

import copy
import sys

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.helper import get_attribute_value
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import get_converter
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from skl2onnx.common.utils_classifier import get_label_classes
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from skadistill._utils.optional import require
from skadistill.export._nodes import Nodes, look_up_labels

__all__ = [
    "convert_boosting",
    "convert_vote",
    "encode_first",
    "foreign_converters",
    "infer_boosting",
    "tree_converters",
]

ML = "ai.onnx.ml"
TREES = (
    DecisionTreeClassifier,
    ExtraTreeClassifier,
    RandomForestClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
)


def encode_first(model):
    """Return a model whose boosting has its encoder of categories as a step before it.

    Without categories it is the model itself.
    """
    if isinstance(model, Pipeline):
        *steps, (name, last) = model.steps
        changed = encode_first(last)
        return model if changed is last else Pipeline([*steps, (name, changed)])
    encoder = getattr(model, "_preprocessor", None)
    if not isinstance(model, HistGradientBoostingClassifier) or encoder is None:
        return model
    boosting, encoder = copy.copy(model), copy.copy(encoder)
    boosting._preprocessor = None
    # skl2onnx does not know masks of columns; numbers are only checked.
    encoder.transformers_ = [
        (
            name,
            FunctionTransformer() if name == "numerical" else step,
            np.flatnonzero(mask).tolist(),
        )
        for name, step, mask in encoder.transformers_
    ]
    return Pipeline([("encoder", encoder), ("boosting", boosting)])


def infer_boosting(operator):
    """Set types and shapes of label and probabilities."""
    calculate_linear_classifier_output_shapes(operator)
    n_classes = len(operator.raw_operator.classes_)
    operator.outputs[1].type = FloatTensorType([None, n_classes])


def convert_boosting(scope, operator, container):
    """Convert a `HistGradientBoostingClassifier`, categories included.

    skl2onnx 1.20 passes features as uint32, which onnx refuses; it does not know
    categories. A test of categories becomes one of a column that holds its outcome.
    """
    boosting = operator.raw_operator
    node = Nodes(scope, container)
    X = operator.inputs[0].full_name
    double = type(operator.inputs[0].type).__name__ == "DoubleTensorType"
    trees = _Trees(boosting, double)
    outcomes = trees.outcomes_of_categories(node, X)
    if outcomes:
        X = node("Concat", X, *outcomes, axis=1)
    raw = trees.add_to(node, X)
    baseline = np.ravel(boosting._baseline_prediction).astype(np.float32)
    raw = node("Add", raw, node.constant(baseline))
    if len(baseline) == 1:
        second = node("Sigmoid", raw)
        first = node("Sub", node.constant(np.float32(1)), second)
        proba = node("Concat", first, second, axis=1)
    else:
        proba = node("Softmax", raw, axis=1)
    label, output = (entry.full_name for entry in operator.outputs)
    node("Identity", proba, output=output)
    look_up_labels(node, proba, get_label_classes(scope, boosting), label)


class _Trees:
    """The trees of a boosting as the attributes of ONNX's operator."""

    def __init__(self, boosting, double):
        self._boosting = boosting
        self._dtype = np.float64 if double else np.float32
        mapper = boosting._bin_mapper
        self._known, self._position = mapper.make_known_categories_bitsets()
        # Of each feature, its tests of categories; of each node, which is its own.
        self._tests: dict = {}
        self._test_of: dict = {}
        for place, tree in self._walk():
            for n, entry in enumerate(tree.nodes):
                if entry["is_categorical"] and not entry["is_leaf"]:
                    tests = self._tests.setdefault(int(entry["feature_idx"]), [])
                    self._test_of[place, n] = len(tests)
                    tests.append(self._outcomes(tree, entry))
        self._start, width = {}, mapper.n_bins_non_missing_.shape[0]
        for feature, tests in self._tests.items():
            self._start[feature] = width
            width += len(tests)

    def _walk(self):
        """Yield the trees by stage and class."""
        for i, stage in enumerate(self._boosting._predictors):
            for k, tree in enumerate(stage):
                yield (i, k), tree

    def _outcomes(self, tree, entry):
        """Return whether each category goes to the left, and a missing one last."""
        left = _bits(tree.raw_left_cat_bitsets[entry["bitset_idx"]])
        known = _bits(self._known[self._position[entry["feature_idx"]]])
        missing = bool(entry["missing_go_to_left"])
        return np.append(np.where(known, left, missing), missing)

    def outcomes_of_categories(self, node, X):
        """Add a column for each test of categories: 1 if it goes to the left."""
        found = []
        for feature, tests in self._tests.items():
            table = np.array(tests, dtype=self._dtype).T
            value = node("Gather", X, node.constant(np.int64(feature)), axis=1)
            # The last row of the table is for what is missing or out of range.
            last = node.constant(self._dtype(len(table) - 1))
            below = node("Less", value, node.constant(self._dtype(0)))
            outside = node("Or", node("IsNaN", value), below)
            outside = node("Or", outside, node("Less", last, value))
            value = node("Where", outside, last, value)
            code = node("Cast", value, to=TensorProto.INT64)
            found.append(node("Gather", node.constant(table), code, axis=0))
        return found

    def add_to(self, node, X):
        """Add the operator, and return the sums of the leaves."""
        nodes, leaves = [], []
        for number, (place, tree) in enumerate(self._walk()):
            for n, entry in enumerate(tree.nodes):
                if entry["is_leaf"]:
                    leaves.append((number, n, place[1], float(entry["value"])))
                    nodes.append((number, n, 0, 0.0, "LEAF", 0, 0, 0))
                else:
                    nodes.append((number, n, *self._branch(place, n, entry)))
        names = ["treeids", "nodeids", "featureids", "values", "modes"]
        names += ["truenodeids", "falsenodeids", "missing_value_tracks_true"]
        attributes: dict = {
            f"nodes_{name}": list(column)
            for name, column in zip(names, zip(*nodes, strict=True), strict=True)
        }
        names = ["treeids", "nodeids", "ids", "weights"]
        attributes |= {
            f"target_{name}": list(column)
            for name, column in zip(names, zip(*leaves, strict=True), strict=True)
        }
        if self._dtype is np.float64:
            for name in ("nodes_values", "target_weights"):
                tensor = numpy_helper.from_array(np.array(attributes.pop(name)), name)
                attributes[f"{name}_as_tensor"] = tensor
        else:
            values = attributes["nodes_values"]
            attributes["nodes_values"] = [_round_down(value) for value in values]
        return node(
            "TreeEnsembleRegressor",
            X,
            domain=ML,
            aggregate_function="SUM",
            n_targets=self._boosting.n_trees_per_iteration_,
            post_transform="NONE",
            **attributes,
        )

    def _branch(self, place, n, entry):
        """Return feature, threshold, kind, both ways, and if NaN goes the first."""
        feature, threshold = int(entry["feature_idx"]), float(entry["num_threshold"])
        ways = int(entry["left"]), int(entry["right"])
        missing = int(entry["missing_go_to_left"])
        if entry["is_categorical"]:
            # The outcome 1 goes to the left, and is above the threshold.
            feature = self._start[feature] + self._test_of[place, n]
            threshold, ways = 0.5, ways[::-1]
        return feature, threshold, "BRANCH_LEQ", *ways, missing


def _bits(words):
    """Return the bits of a set of up to 256 categories."""
    return np.unpackbits(
        np.asarray(words, dtype="<u4").view(np.uint8), bitorder="little"
    ).astype(bool)


def _round_down(threshold):
    """Return the largest float32 that is not above a threshold.

    A float32 is at most the one if and only if it is at most the other.
    """
    rounded = np.float32(threshold)
    if rounded > threshold:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)


def tree_converters():
    """Return converters by class, of trees that round their rows to float32."""
    return {kind: _rounded(_known_converter(kind)) for kind in TREES}


def _known_converter(kind):
    """Return skl2onnx's converter of a class."""
    return get_converter(sklearn_operator_name_map[kind])


def _rounded(convert):
    """Return a converter that rounds rows to float32, and casts probabilities back.

    skl2onnx compares float64 rows with the thresholds, as scikit-learn does not.
    """

    def convert_rounded(scope, operator, container):
        node = Nodes(scope, container)
        rows, (label, proba) = operator.inputs[0], operator.outputs
        inside = [
            scope.declare_local_variable(name, FloatTensorType(entry.type.shape))
            for name, entry in (("rounded", rows), ("proba", proba))
        ]
        names = [entry.full_name for entry in inside]
        node("Cast", rows.full_name, output=names[0], to=TensorProto.FLOAT)
        convert(scope, _Inside(operator, inside[:1], [label, inside[1]]), container)
        double = isinstance(proba.type, DoubleTensorType)
        to = TensorProto.DOUBLE if double else TensorProto.FLOAT
        node("Cast", names[1], output=proba.full_name, to=to)

    return convert_rounded


class _Inside:
    """An operator with other inputs and outputs."""

    def __init__(self, operator, inputs, outputs):
        self._operator = operator
        self.inputs, self.outputs = inputs, outputs
        self.input_full_names = [entry.full_name for entry in inputs]
        self.output_full_names = [entry.full_name for entry in outputs]

    def __getattr__(self, name):
        return getattr(self._operator, name)


def convert_vote(scope, operator, container):
    """Convert a `VotingClassifier`, whose `flatten_transform` predictions ignore.

    skl2onnx refuses its default value.
    """
    vote = copy.copy(operator.raw_operator)
    vote.flatten_transform = False
    changed = operator.new_raw_operator(vote, operator.type)
    _known_converter(VotingClassifier)(scope, changed, container)


def foreign_converters(sparse):
    """Return the converters of other packages that are in use, by class."""
    found: dict = {}
    if "lightgbm" in sys.modules:
        require("onnxmltools", "export")
        from lightgbm import LGBMClassifier
        from onnxmltools.convert.lightgbm.operator_converters import LightGbm

        found[LGBMClassifier] = _rounded(LightGbm.convert_lightgbm)
    if "xgboost" in sys.modules:
        require("onnxmltools", "export")
        from onnxmltools.convert.xgboost.operator_converters import XGBoost
        from xgboost import XGBClassifier

        convert = XGBoost.convert_xgboost
        found[XGBClassifier] = _rounded(_gaps_for_zeros(convert) if sparse else convert)
    if "catboost" in sys.modules:
        from catboost import CatBoostClassifier

        found[CatBoostClassifier] = _rounded(_convert_catboost)
    return found


def _gaps_for_zeros(convert):
    """Return a converter that takes zeros for missing values.

    XGBoost does so with the zeros that a sparse matrix does not hold.
    """

    def convert_sparse(scope, operator, container):
        node = Nodes(scope, container)
        (rows,) = operator.inputs
        inner = scope.declare_local_variable("gaps", rows.type)
        empty = node("Equal", rows.full_name, node.constant(np.float32(0)))
        gap = node.constant(np.float32(np.nan))
        node("Where", empty, gap, rows.full_name, output=inner.full_name)
        convert(scope, _Inside(operator, [inner], operator.outputs), container)

    return convert_sparse


def _convert_catboost(scope, operator, container):
    """Copy the trees of CatBoost's own graph."""
    from catboost.utils import convert_to_onnx_object

    trees = convert_to_onnx_object(operator.raw_operator).graph.node[0]
    Nodes(scope, container)(
        trees.op_type,
        *operator.input_full_names,
        output=operator.output_full_names,
        domain=ML,
        **{entry.name: get_attribute_value(entry) for entry in trees.attribute},
    )
