"""Accuracy, confusion matrix, precision and recall, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnfast.train.metrics import Means, accuracy, confusion_matrix, precision_recall
from nnfast.train.report import measure

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 1, 0, 1, 1, 0])


def test_confusion_matrix_has_true_classes_in_its_rows():
    assert confusion_matrix(LABELS, PREDICTIONS, 4).tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_confusion_matrix_of_nothing():
    assert confusion_matrix(LABELS[:0], PREDICTIONS[:0], 2).tolist() == [[0, 0], [0, 0]]


def test_precision_and_recall():
    result = precision_recall(confusion_matrix(LABELS, PREDICTIONS, 4))
    np.testing.assert_array_equal(result.precision, [2 / 3, 2 / 3, np.nan, np.nan])
    np.testing.assert_array_equal(result.recall, [2 / 3, 1, 0, np.nan])
    assert result.support.tolist() == [3, 2, 1, 0]


def test_accuracy():
    outputs = np.eye(3)[PREDICTIONS]
    assert accuracy(outputs, LABELS) == 4 / 6
    assert accuracy(np.zeros((2, 3)), np.array([0, 1])) == 0.5  # of equal outputs the first counts


def test_nan_is_never_right():
    assert accuracy(np.full((4, 3), np.nan), np.zeros(4, int)) == 0


@pytest.mark.parametrize(
    ("outputs", "labels"), [((3,), (3,)), ((3, 2), (2,)), ((0, 2), (0,)), ((3, 2, 2), (3, 2)), ((2, 2), (2, 1))]
)
def test_accuracy_refuses_shapes(outputs, labels):
    with pytest.raises(ValueError, match="accuracy: outputs have shape"):
        accuracy(np.zeros(outputs), np.zeros(labels, int))


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0], r"labels have shape \(2,\) and predictions \(1,\)"),
        ([0, 3], [0, 1], r"labels hold 0\.\.3, expected 0\.\.2"),
        ([0, 1], [0, -1], r"predictions hold -1\.\.0, expected 0\.\.2"),
    ],
)
def test_confusion_matrix_refuses(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(labels), np.array(predictions), 3)


def test_means_go_on_from_their_state():
    whole, parts = Means(), Means()
    for position, value in enumerate([0.1, 0.7, 0.3]):
        whole.add(3, {"x": value})
        if position == 1:
            resumed = Means()
            resumed.load_state_dict(parts.state_dict())
            parts = resumed
        parts.add(3, {"x": value})
    assert parts.values() == whole.values()
    assert parts.samples == 9


def test_measure_agrees_with_the_trainer(make_trainer, loaders):
    trainer = make_trainer()
    expected = trainer.evaluate(loaders[1])
    trainer.model.eval()
    report = measure(trainer.model, loaders[1], 3)
    assert (report.loss, report.accuracy) == pytest.approx((expected["loss"], expected["accuracy"]))
    outputs = trainer.predict(loaders[1])
    assert report.confusion.tolist() == confusion_matrix(loaders[1].dataset.labels, outputs.argmax(1), 3).tolist()


def test_the_reports_table(make_trainer):
    from nnfast.train.report import Report

    table = Report(0.5, 0.75, np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]])).table(["a", "long name", "b"])
    lines = [line.split() for line in table.splitlines()]
    assert lines == [["class", "precision", "recall", "images"], ["a", "66.67%", "100.00%", "2"],
                     ["long", "name", "100.00%", "50.00%", "2"], ["b", "-", "-", "0"]]  # fmt: skip
    assert len({len(line) for line in table.splitlines()}) == 1
