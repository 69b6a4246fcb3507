"""`ppl doctor` and `ppl cache`: what they say, and that only files of our own are removed."""

import importlib.util

import numpy as np
import pytest

import ppl
from ppl import cli, doctor
from ppl.kernels.cuda import launch


def test_the_doctor_finds_this_machine_well(capsys):
    assert cli.main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {"ppl", "packages", "processor", "threads", "BLAS", "cache", "CUDA", "chains", "test"}
    assert lines["test"].startswith("a gradient is right")
    assert np.__version__ in lines["packages"]


def test_a_wrong_gradient_is_found(monkeypatch, capsys):
    found = ppl.Program.value_and_grad

    def wrong(self, state, *data, **options):
        value, grads = found(self, state, *data, **options)
        return value, {name: 1.01 * grad for name, grad in grads.items()}

    monkeypatch.setattr(ppl.Program, "value_and_grad", wrong)
    assert cli.main(["doctor"]) == 1
    assert "FAILED: a gradient is wrong by" in capsys.readouterr().out


def test_missing_packages_of_chains_are_said(monkeypatch):
    monkeypatch.setattr(doctor, "CHAINS", ("no-such-package",))
    assert doctor._chains().text == 'no-such-package missing; pip install "numba-ppl[mcmc]"'


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_what_cuda_lacks_is_said(monkeypatch):
    monkeypatch.setattr(launch, "available", lambda: False)
    assert "no driver or no device" in doctor._cuda().text
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install "numba-ppl[cuda]"' in doctor._cuda().text


def test_a_cache_that_cannot_be_written_is_a_finding(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path / "file"))
    found = doctor._cache()
    assert not found.good and "machine code stays in memory" in found.text


def test_clearing_a_cache_leaves_the_files_of_others(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PPL_CACHE_DIR", str(tmp_path))
    ours = [tmp_path / "ppl_program_12.py", tmp_path / "folder" / "a.nbc"]
    theirs = [tmp_path / "thesis.tex", tmp_path / "other" / "b.txt", tmp_path / "mine.py"]
    for path in (*ours, *theirs):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert cli.main(["cache"]) == 0
    assert "2 files" in capsys.readouterr().out
    assert cli.main(["cache", "--clear"]) == 0
    assert not any(path.exists() for path in ours) and all(path.exists() for path in theirs)
    assert not (tmp_path / "folder").exists()
