"""What modules are imported under: the collector of cycles rests, BLAS waits briefly, and some modules are not run."""

import gc
import importlib
import os
import sys
import threading

import pytest

from ppl.lazy import WAITS, loading, resting, unread
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


@pytest.fixture
def waits(monkeypatch):
    """Sets variables; without any at first."""
    for name in WAITS:
        monkeypatch.setenv(name, "")  # so that a name that was not there is taken away again
        monkeypatch.delenv(name)
    return monkeypatch.setenv


def test_blas_waits_briefly_inside_and_as_ever_outside(waits):
    with pytest.raises(ValueError), loading():
        assert int(os.environ[WAITS[0]]) < 28
        with loading():
            pass
        assert WAITS[0] in os.environ
        raise ValueError
    assert WAITS[0] not in os.environ


@pytest.mark.parametrize("name", WAITS)
def test_what_a_user_says_of_blas_stays(waits, name):
    waits(name, "25")
    with loading():
        assert [os.environ.get(x) for x in WAITS] == ["25" if x == name else None for x in WAITS]
    assert os.environ[name] == "25"


def test_what_a_user_says_of_blas_meanwhile_stays(waits):
    with loading():
        os.environ[WAITS[0]] = "26"
    assert os.environ[WAITS[0]] == "26"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on disk that says that it has been run, by importing `seldom_run`."""
    (tmp_path / "seldom_used").mkdir()
    (tmp_path / "seldom_used/__init__.py").write_text("import seldom_run\nx = 3\n")
    (tmp_path / "seldom_used/part.py").write_text("y = 4\n")
    (tmp_path / "seldom_run.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("seldom_used", "seldom_used.part", "seldom_run"):
        sys.modules.pop(name, None)


def test_what_is_unread_is_run_when_it_is_used(package):
    with unread("seldom_used"):
        first = importlib.import_module("seldom_used")
    assert not {"seldom_used", "seldom_run"} & set(sys.modules)
    assert first.x == 3 and first.x is importlib.import_module("seldom_used").x
    assert "seldom_run" in sys.modules


def test_inside_others_get_parts_and_names_of_what_is_unread(package):
    with unread("seldom_used"):
        importlib.import_module("seldom_used")
        assert importlib.import_module("seldom_used.part").y == 4
        assert type(sys.modules["seldom_used"]) is type(sys)
        assert sys.modules["seldom_used"].part.y == 4
    assert sys.modules["seldom_used"].x == 3


def test_what_is_unread_and_used_before_stays_what_it_is(package):
    known = importlib.import_module("seldom_used")
    with unread("seldom_used"):
        assert importlib.import_module("seldom_used") is known
    with unread("seldom_that_is_not_there"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("seldom_that_is_not_there")
