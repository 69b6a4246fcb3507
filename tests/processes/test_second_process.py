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
