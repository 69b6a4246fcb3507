"""The collector of cycles rests inside, and has its thresholds back outside."""

import gc
import threading

import pytest

from ppl.lazy import resting
from ppl.tuning import COLLECTOR


@pytest.fixture
def thresholds():
    """Sets thresholds; the old ones come back."""
    before = gc.get_threshold()
    yield gc.set_threshold
    gc.set_threshold(*before)


def test_it_rests_inside_and_after_errors_comes_back(thresholds):
    thresholds(700, 10, 10)
    with pytest.raises(ValueError), resting():
        assert gc.get_threshold() == COLLECTOR
        with resting():
            assert gc.get_threshold() == COLLECTOR
        assert gc.get_threshold() == COLLECTOR
        raise ValueError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (COLLECTOR[0] + 1, 5, 5)])
def test_what_a_user_has_turned_off_or_set_higher_stays(thresholds, own):
    thresholds(*own)
    with resting():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_what_a_user_sets_inside_stays(thresholds):
    thresholds(700, 10, 10)
    with resting():
        gc.set_threshold(900, 5, 5)
    assert gc.get_threshold() == (900, 5, 5)


def test_threads_that_overlap_give_back_the_first_thresholds(thresholds):
    """The one that came second goes last."""
    thresholds(700, 10, 10)
    entered, leave = threading.Event(), threading.Event()

    def second():
        with resting():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=second)
    with resting():
        thread.start()
        entered.wait()
    assert gc.get_threshold() == COLLECTOR
    leave.set()
    thread.join()
    assert gc.get_threshold() == (700, 10, 10)
