"""What is exported answers as what was trained: graphs, whole-number weights, dynamic lengths and prompt counts."""

import os

import numpy as np
import pytest

if not os.environ.get("CI"):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")

import torch

from engine.runtimes.onnx_runtime import OnnxGraph
from training.export import TRUNK_OUTPUTS, shrink, to_int8, write_sound_graphs
from training.mixing import N_BANDS
from training.network import Network

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    torch.manual_seed(0)
    net = Network(N_BANDS)
    for module in net.modules():  # statistics that folding must not lose
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    net.eval()
    features, text, spans = torch.randn(1, 3, N_BANDS, 40), torch.randn(1, 3, 384) / 20, torch.zeros(1, 3, 40)
    spans[0, 1, 8:24] = 1
    with torch.inference_mode():
        asked = net.trunk(features)
        logits, heard, presence = net.head(asked, text, spans)
    write_sound_graphs(net, folder)
    return folder, (features, text, spans), (torch.sigmoid(logits).numpy(), heard.numpy(), presence.numpy())


def run(folder, inputs):
    features, text, spans = (array.numpy() for array in inputs)
    trunk, head = OnnxGraph(folder / "trunk.onnx", threads=1), OnnxGraph(folder / "head.onnx", threads=1)
    asked = dict(zip(TRUNK_OUTPUTS, trunk.run({"features": features}, list(TRUNK_OUTPUTS)), strict=True))
    return head.run({**asked, "text": text, "spans": spans}, ["masks", "heard", "presence"])


def test_graphs_answer_as_the_network_at_other_lengths_and_prompt_counts(exported):
    folder, inputs, wanted = exported
    for found, right in zip(run(folder, inputs), wanted, strict=True):
        np.testing.assert_allclose(found, right, atol=2e-4)


def test_whole_number_weights_change_little_and_a_quarter_of_the_size(exported, tmp_path):
    folder, inputs, wanted = exported
    for name in ("trunk.onnx", "head.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
        shrink(tmp_path / name)
    assert (tmp_path / "trunk.onnx").stat().st_size < 0.3 * (folder / "trunk.onnx").stat().st_size
    found = run(tmp_path, inputs)
    assert np.abs(found[0] - wanted[0]).mean() < 0.02


def test_int8_is_exact_to_half_a_step():
    weights = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    whole, scale = to_int8(weights, 0)
    assert np.all(np.abs(whole * scale - weights) <= scale / 2 + 1e-7)
    assert scale.shape == (8, 1, 1, 1)
