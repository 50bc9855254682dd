"""--precision through the programs: what files say, what is refused, what is told where bf16 can't be had."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_run import SmallRun
from test_extract import arguments, contents, made  # noqa: F401 # a fixture
from test_onednn import difference
from test_onednn_bf16 import needs_bf16

from eval import extract, index
from eval.files.features import precision_of
from eval.forward import precision
from eval.search.index import Index
from eval.search.site import Site

pytest_plugins = ("small_run",)


def said_precision(path: Path) -> str:
    with h5py.File(path) as file:
        return precision_of(file.attrs)


@needs_bf16
def test_features_are_bf16s_and_say_so(made, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.delenv("CAFFE_CPU_PRECISION", raising=False)
    for name in ("fp32", "bf16"):
        assert extract.main(arguments(made, f"--precision={name}", out=tmp_path / f"{name}.h5")) == 0
        assert said_precision(tmp_path / f"{name}.h5") == name
    monkeypatch.setenv("CAFFE_CPU_PRECISION", "bf16")
    assert extract.main(arguments(made, out=tmp_path / "set.h5")) == 0
    fp32, bf16, by_setting = (contents(tmp_path / f"{name}.h5") for name in ("fp32", "bf16", "set"))
    for name, values in bf16.items():
        if not name.endswith("names"):
            assert 0 < difference(values, fp32[name]) < 0.02, name
            np.testing.assert_array_equal(by_setting[name], values)


@needs_bf16
def test_a_file_of_one_precision_is_not_continued_in_the_other(made, tmp_path, capsys):  # noqa: F811
    work = shutil.copytree(made, tmp_path / "work")
    assert extract.main(arguments(work, "--precision=bf16")) == 0
    before = (work / "f.h5").read_bytes()
    assert extract.main(arguments(work, "--precision=fp32")) == 1
    said = f"extract: {work}/f.h5 was made in bf16, which fp32 does not go on with: "
    said += "name another file, or remove that one"
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert (work / "f.h5").read_bytes() == before
    # and one that was stopped half-way, at a picture that can't be read
    (work / "jpg" / "p20.JPG").write_bytes(b"none")
    assert extract.main(arguments(work, "--precision=bf16", out=work / "half.h5")) == 1
    assert (work / "half.h5.part.done").exists()
    assert extract.main(arguments(work, "--precision=fp32", out=work / "half.h5")) == 1
    assert "half.h5.part was made in bf16" in capsys.readouterr().err.splitlines()[-1]


def test_where_bf16_can_t_be_had_one_sentence_and_fp32(made, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE")
    precision.why_no_bf16.cache_clear()
    assert extract.main(arguments(made, "--precision=bf16", out=tmp_path / "f.h5")) == 0
    assert (
        "extract: FP32, not bf16 as asked for: this CPU has neither avx512_bf16 nor AMX\n"
        in capsys.readouterr().err
    )
    precision.why_no_bf16.cache_clear()
    assert said_precision(tmp_path / "f.h5") == "fp32"
    monkeypatch.delenv("DNNL_MAX_CPU_ISA")
    assert extract.main(arguments(made, out=tmp_path / "f.h5")) == 0
    assert "is there already" in capsys.readouterr().out


def test_on_a_gpu_it_means_nothing(capsys):
    assert precision.given_precision("bf16", [0], "index") == "fp32"
    assert (
        capsys.readouterr().err
        == "index: FP32, not bf16 as asked for: it is for CPUs, and GPUs compute in FP32\n"
    )


@pytest.mark.parametrize("setting", ["fp16", "nonsense"])
def test_a_setting_that_is_none_is_refused_before_work_starts(made, tmp_path, capsys, monkeypatch, setting):  # noqa: F811
    monkeypatch.setenv("CAFFE_CPU_PRECISION", setting)
    said = f"CAFFE_CPU_PRECISION is '{setting}', neither fp32 nor bf16"
    assert extract.main(arguments(made, out=tmp_path / "f.h5")) == 1
    assert capsys.readouterr().err == f"extract: {said}\n"
    assert (
        index.main([str(made / "jpg"), f"--weights={made}/weights.caffemodel", f"--out={tmp_path}/i.h5"]) == 1
    )
    assert capsys.readouterr().err == f"index: {said}\n"
    assert not list(tmp_path.iterdir())


@needs_bf16
def test_an_index_keeps_its_precision(small_run: SmallRun, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CAFFE_CPU_PRECISION", raising=False)
    folder = shutil.copytree(small_run.images, tmp_path / "photographs")
    weights = f"--weights={small_run.work}/data/pre.caffemodel"
    command = [str(folder), "--network=demo", weights, "--jobs=1"]
    assert index.main([*command, "--precision=bf16"]) == 0
    made_one = tmp_path / "photographs.h5"
    assert said_precision(made_one) == "bf16"
    assert index.main(command) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"index: {made_one} was made in bf16 and goes on with --precision bf16 alone: "
        "name another file for fp32"
    )
    assert index.main([*command, "--precision=bf16"]) == 0
    one = Index(made_one)
    try:
        site = Site([one], None, None, None, None)  # type: ignore[arg-type] # what it is not asked for here
        assert site.precision == "Features computed in bf16."
        first = one.names[0]
        alike = one.representation("pool5_rmac")
        again = one.of_file(folder / first, None, alike)
        np.testing.assert_allclose(again, one.of_picture(first, alike), rtol=1e-6)
    finally:
        one.close()
    monkeypatch.setattr("eval.search.index.why_no_bf16", lambda: "this CPU has neither avx512_bf16 nor AMX")
    elsewhere = Index(made_one)
    assert elsewhere.why_no_network == "it was made in bf16, and this CPU has neither avx512_bf16 nor AMX"
    with pytest.raises(ValueError, match="Only whole pictures"):
        elsewhere.of_file(folder / first, None, alike)


def test_the_page_says_which_is_which(tmp_path):
    class Made:
        def __init__(self, model: str, precision: str) -> None:
            self.model, self.precision = model, precision
            self.names, self.folder = [], tmp_path

    both = [Made("pretrained", "fp32"), Made("finetuned", "bf16")]
    site = Site(both, None, None, None, None)  # type: ignore[arg-type]
    assert site.precision == "Features computed in FP32 (pretrained), bf16 (finetuned)."
    assert re.search("FP32.$", Site(both[:1], None, None, None, None).precision)  # type: ignore[arg-type]
