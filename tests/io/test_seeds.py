"""Seeds depend on the run's seed, the kind of draw and its numbers, and on nothing else."""

from itertools import product

import pytest

from alembert.io.seeds import DROPOUT, MASKS, ORDER, ROW_MASKS, sequence, torch_seed


@pytest.mark.parametrize(
    ("asked", "expected"),
    [  # what NumPy 1.26 and 2.4 give
        ((0, MASKS, 0), 5769891174451087230),
        ((0, DROPOUT, 1), 6931203489060459394),
        ((7, ROW_MASKS, 123456), 1110197524058243075),
    ],
)
def test_a_seed_is_the_same_on_every_version_of_python_and_numpy(
    asked: tuple[int, ...], expected: int
) -> None:
    assert torch_seed(*asked) == expected


def test_no_two_draws_of_a_run_share_a_seed() -> None:
    asked = [*product((0, 1), (ORDER, MASKS, ROW_MASKS, DROPOUT), range(50))]
    assert len({torch_seed(*each) for each in asked}) == len(asked)
    assert len({tuple(sequence(*each).generate_state(4)) for each in asked}) == len(asked)


def test_every_seed_of_a_run_is_one_that_torch_takes() -> None:
    for seed in (0, 1, 2**63 - 1):
        assert 0 <= torch_seed(seed, DROPOUT, 10**9, 7) < 2**63
