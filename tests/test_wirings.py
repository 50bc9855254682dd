"""tools.wirings: what each wiring leaves in fc7's blobs, by Caffe's own forward pass."""

from pathlib import Path

import caffe
import numpy as np
import pytest

from tools.wirings import main

DEPLOY = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 5 } } }
layer { name: "fc7" type: "InnerProduct" bottom: "data" top: "fc7"
  inner_product_param { num_output: 20 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }
layer { name: "drop7" type: "Dropout" bottom: "fc7" top: "fc7" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8"
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 1 } } }
"""


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """Every blob of every wiring, with the same weights and input."""
    folder = tmp_path_factory.mktemp("wirings")
    (folder / "stock.prototxt").write_text(DEPLOY)
    caffe.set_random_seed(2)
    caffe.Net(str(folder / "stock.prototxt"), caffe.TEST).save(str(folder / "w.caffemodel"))
    assert main([str(folder / "stock.prototxt"), str(folder / "out")]) == 0
    found = {}
    data = np.random.default_rng(3).standard_normal((2, 3, 5, 5))
    for file in (folder / "stock.prototxt", *sorted((folder / "out").iterdir())):
        net = caffe.Net(str(file), str(folder / "w.caffemodel"), caffe.TEST)
        net.blobs["data"].data[...] = data
        net.forward()
        found[file.stem] = {name: blob.data.copy() for name, blob in net.blobs.items()}
    found["weights of fc8"] = [blob.data.copy() for blob in net.params["fc8"]]
    return found


def test_in_sequence_it_is_the_stock_network(blobs) -> None:
    own, stock = blobs["own"], blobs["stock"]
    assert (own["fc7"] < 0).any()
    np.testing.assert_array_equal(own["fc7_relu7"], np.maximum(own["fc7"], 0))
    np.testing.assert_array_equal(own["fc7_drop7"], own["fc7_relu7"])
    np.testing.assert_array_equal(own["fc8"], stock["fc8"])


def test_in_place_fc7_is_the_value_after_relu(blobs) -> None:
    np.testing.assert_array_equal(blobs["in_place"]["fc7"], blobs["own"]["fc7_relu7"])
    assert blobs["in_place"].keys() == blobs["stock"].keys()
    np.testing.assert_array_equal(blobs["in_place"]["fc8"], blobs["stock"]["fc8"])


def test_as_printed_it_is_another_network(blobs) -> None:
    printed, own = blobs["as_printed"], blobs["own"]
    np.testing.assert_array_equal(printed["fc7_drop7"], own["fc7"])
    np.testing.assert_array_equal(printed["fc7_relu7"], own["fc7_relu7"])
    assert np.abs(printed["fc8"] - own["fc8"]).max() > 0.1
    weights, bias = (blob.reshape(-1, 20) if blob.ndim > 1 else blob for blob in blobs["weights of fc8"])
    np.testing.assert_allclose(printed["fc8"], own["fc7"] @ weights.T + bias, rtol=1e-4, atol=1e-4)


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.prototxt"), str(tmp_path / "out")]) == 1
    (tmp_path / "plain.prototxt").write_text(DEPLOY.replace("Dropout", "Sigmoid"))
    assert main([str(tmp_path / "plain.prototxt"), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"wirings: No such file or directory: {tmp_path}/none.prototxt"
    assert said[1] == "wirings: the network has no dropout behind a ReLU"
    assert not (tmp_path / "out").exists()
