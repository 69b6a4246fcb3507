"""Which checkpoints are kept, and the scalars of the callback for TensorBoard."""

import functools
import pickle
import struct
import sys

import numpy as np
import pytest

import ppl
from ppl.errors import DataError, MissingPackageError, OptionError
from ppl.training.optim import SGD
from tests.training.sweeps.builds import X, program

fit = functools.partial(ppl.fit, progress=False, batch_size=5, optimizer=SGD(0.05))


def test_the_last_few_and_the_best_are_kept(tmp_path):
    path, values = tmp_path / "run.npz", [5.0, 3.0, 4.0, np.nan, 2.5, 9.0]
    seen = iter(values)
    found = fit(program(), X, epochs=6, validation=lambda state: next(seen),
                checkpoint=ppl.Checkpoints(path, 4, keep=3, best=True))  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.12.npz", "run.16.npz", "run.best.npz", "run.npz"]
    assert ppl.load_state(path).step == found.state.step == 18
    assert ppl.load_state(tmp_path / "run.12.npz").step == 12
    assert ppl.load_state(tmp_path / "run.best.npz").step == 15


def test_the_best_is_known_after_a_resume(tmp_path):
    policy = ppl.Checkpoints(tmp_path / "run.npz", best=True)
    fit(program(), X, epochs=1, validation=lambda state: 1.0, checkpoint=policy)
    fit(program(), X, epochs=2, validation=lambda state: 2.0, checkpoint=policy)
    assert ppl.load_state(tmp_path / "run.best.npz").step == 3
    fit(program(), X, epochs=3, validation=lambda state: 0.5, checkpoint=policy)
    assert ppl.load_state(tmp_path / "run.best.npz").step == 9


def test_a_run_goes_on_from_the_one_before_a_damaged_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    whole = fit(program(), X, steps=12)
    fit(program(), X, steps=9, checkpoint=ppl.Checkpoints(path, 4, keep=2))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="is not one of"):
        fit(program(), X, steps=12, checkpoint=path)
    with pytest.warns(RuntimeWarning, match=r"goes on from '.*run\.8\.npz'"):
        found = fit(program(), X, steps=12, checkpoint=ppl.Checkpoints(path, 4, keep=2))
    assert found.state._flat.tobytes() == whole.state._flat.tobytes()
    assert found.history["loss"].tobytes() == whole.history["loss"].tobytes()


def test_a_new_run_is_not_mixed_with_what_is_left_of_another(tmp_path):
    path, policy = tmp_path / "run.npz", ppl.Checkpoints(tmp_path / "run.npz", 4, keep=3)
    fit(program(), X, steps=12, checkpoint=policy)
    path.unlink()
    with pytest.raises(DataError, match=r"run\.8\.npz, run\.4\.npz"):
        fit(program(), X, steps=5, checkpoint=policy)
    for left in tmp_path.glob("run.*.npz"):
        left.unlink()
    assert fit(program(), X, steps=5, checkpoint=policy).state.step == 5


def test_a_run_that_goes_on_with_other_batches_is_a_warning(tmp_path):
    path = tmp_path / "run.npz"
    fit(program(), X, steps=3, batch_size=5, checkpoint=path)
    with pytest.warns(RuntimeWarning, match=r"12 rows, 5 rows a step.* goes on with 12 rows, 6 rows a step"):
        fit(program(), X, steps=5, batch_size=6, checkpoint=path)


def test_wrong_policies():
    for given in ({"path": 3}, {"path": "x", "every": 0}, {"path": "x", "keep": 0}, {"path": "x", "best": 1}):
        with pytest.raises(OptionError, match="Checkpoints"):
            ppl.Checkpoints(**given)


@pytest.mark.parametrize("optimizer", [SGD(0.05), {"*": SGD(0.05)}], ids=["in place", "step by step"])
def test_scalars_are_read_by_the_protocol_of_tensorboard(optimizer, tmp_path):
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = fit(program(), X, steps=18, optimizer=optimizer, validation=X[:4], callback=ppl.TensorBoard(tmp_path, 6))
    (path,) = tmp_path.iterdir()
    content, read = path.read_bytes(), []
    while content:  # records: length and its checksum, an event and its checksum
        (length,) = struct.unpack("<Q", content[:8])
        read.append(events.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    assert read[0].file_version == "brain.Event:2" and read[1].session_log.status == 1 and read[1].step == 6
    assert [event.step for event in read[2:]] == [6, 12, 18]
    for event in read[2:]:
        scalars = {value.tag: value.simple_value for value in event.summary.value}
        assert scalars["loss"] == np.float32(found.history["loss"][event.step - 1])
        at = found.history["validation_step"].tolist().index(event.step - 3 if event.step > 3 else 0)
        assert scalars["validation"] in np.float32(found.history["validation"][at : at + 2])


def test_a_callback_for_tensorboard_can_be_pickled_while_it_writes(tmp_path):
    pytest.importorskip("tensorboardX")
    board = ppl.TensorBoard(tmp_path, 6)
    board(6, None, {"loss": 1.0})
    pickle.loads(pickle.dumps(board))(12, None, {"loss": 2.0})
    assert len(list(tmp_path.iterdir())) == 2


def test_tensorboard_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r'pip install "numba-ppl\[tensorboard\]"'):
        ppl.TensorBoard(tmp_path)
