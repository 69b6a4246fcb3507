"""A process that finds machine code of kernels, or of programs, on disk gives what the first one gave."""

import shutil

from tests.processes.programs import TRAIN, run


def test_training_with_kernels_and_program_from_disk(tmp_path):
    """The first call leaves the kernels; the second meets them with a new program, the third finds both."""
    folder = tmp_path / "programs"
    first = run(TRAIN, folder)
    shutil.rmtree(folder)
    assert run(TRAIN, folder) == first
    assert run(TRAIN, folder) == first


CLASSES = """
import numpy as np
import ppl

@ppl.model
def model():
    a = ppl.param("a", np.linspace(-1, 1, 37))
    z = ppl.sample("z", ppl.Categorical(logits=a))
    o = ppl.sample("o", ppl.OneHotCategorical(logits=a * 0.5))
    ppl.cost("c", np.sum(o * np.arange(37.0)) * 0.1 + (z * 1.0 - 20.0) ** 2 * 0.01)

program = ppl.compile(model, dtype="float64")
print(program.value_and_grad(program.init(seed=1))[1]["a"].tobytes().hex())
"""
"""A program whose functions call others that are not inlined."""


def test_machine_code_from_disk_gives_the_bits_of_the_process_that_compiled_it(tmp_path):
    folder = tmp_path / "programs"
    first = run(CLASSES, folder)
    assert run(CLASSES, folder) == first
