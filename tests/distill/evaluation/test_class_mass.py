"""The probability of a class of tokens, against sums token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctkd_core.distill.evaluate import Scored
from ctkd_core.distill.evaluation.class_mass import ClassMass, mean_masses, own_class_mass
from ctkd_core.distill.evaluation.group_classes import codes_of
from ctkd_core.vocabulary.classes import CLASSES
from tests.tiny import tiny_byte_level


def test_a_row_counts_the_whole_class_of_its_own_token():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 11, generator=generator)
    codes = torch.tensor([0, 1, 1, 2, 0, 3, 3, 3, 2])  # two of the rows' columns belong to no token
    targets = torch.tensor([0, 1, 2, 3, 5, 8])
    mass = own_class_mass(rows, targets, codes)
    assert len(mass) == len(rows)
    for row, code, found in zip(torch.softmax(rows, -1), codes[targets].tolist(), mass.tolist()):
        assert found == pytest.approx(sum(float(row[i]) for i in range(9) if int(codes[i]) == code), abs=1e-6)


def test_the_mean_of_each_class_that_the_text_has():
    student = tiny_byte_level()
    codes = codes_of(student)
    digits = [i for i in range(student.n_ids) if CLASSES[int(codes[i])] == "digits_1"]
    rows = torch.zeros(2, student.n_ids)
    rows[0, digits] = 50.0  # sure of a digit, whichever
    letter = next(i for i in range(student.n_ids) if CLASSES[int(codes[i])] != "digits_1")
    items = [
        Scored(np.array([letter, digits[0], digits[1]]), 1, 2),
        Scored(np.array([letter, letter]), 1, 0),  # nothing of it is scored
    ]
    mass = ClassMass(student, len(items))
    assert mean_masses(student, items, mass.noted) == {}
    mass.add(0, rows, torch.tensor([digits[0], digits[1]]))
    even = len(digits) / student.n_ids  # the second row gives every token the same
    assert mean_masses(student, items, mass.noted) == {"digits_1": pytest.approx((1.0 + even) / 2, abs=1e-6)}
