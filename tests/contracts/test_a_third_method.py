"""A method of another kind is one file: its own trainer and saver, found by its name, and nothing else changes."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import nfft
import nfft.methods
from nfft.cli import evaluate, finetune
from nfft.config import registry

METHOD = '''
"""nearest-mean: answers the class whose mean of features is nearest; no step is taken, and no equation solved."""

import time

import numpy as np
import torch

from nfft import Method
from nfft.data.decode import evaluation_view
from nfft.data.loader import EvaluationImages
from nfft.models.freezing import train_only
from nfft.models.saving import save_network
from nfft.optim.param_groups import classifier
from nfft.runs.records import FeatureMetrics
from nfft.training.base import BaseTrainer, Effort, Outcome


class NearestMean(Method):
    def heeds(self, setting):
        return setting in ("test_resolution", "test_margin", "workers", "threads")

    def prepare(self, network):
        train_only(network, classifier(network).parameters())

    def trainer(self, plan, accelerator, folder):
        return NearestMeanTrainer(plan, accelerator, folder)

    def save(self, network, folder, **description):
        save_network(network, folder, **description)
        (folder / "means.txt").write_text("saved by the method itself")


class NearestMeanTrainer(BaseTrainer):
    reached, step = "", 0

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.plan.method.prepare(self.network)
        self.predictor = self.new_predictor(64)

    def restore(self):
        return []

    def fit(self, tracker, stop_requested):
        body, train = self.predictor.folded(self.network), self.plan.data.train
        began, rows = time.perf_counter(), np.zeros((len(train), self.network.num_features), np.float32)
        features_of = lambda pixels: body.forward_head(body.forward_features(pixels), pre_logits=True)
        for outputs in self.predictor.outputs(features_of, EvaluationImages(train, self.predictor.view)):
            rows[outputs.indices] = outputs.rows
            tracker.progress("features", outputs.done, len(train))
        means = np.stack([rows[train.labels == label].mean(0) for label in range(len(self.plan.data.classes))])
        head = classifier(self.network)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(2 * means))
            head.bias.copy_(torch.from_numpy(-(means**2).sum(1)))
        self.spent = time.perf_counter() - began
        tracker.log(FeatureMetrics(name="train", images=len(train), seconds=self.spent))
        return True

    def finish(self):
        scores = {split.name: self.predictor.predict({"raw": self.predictor.folded(self.network)}, split)["raw"]
                  for split in (self.plan.data.validation, self.plan.data.test)}
        effort = Effort(images=len(self.plan.data.train), seconds=self.spent)
        return Outcome("raw", {"raw": scores["validation"]}, scores["test"], effort)


METHOD = NearestMean()
'''


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, as if it lay in nfft/methods/."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "nearest_mean.py").write_text(METHOD)
    monkeypatch.setattr(nfft.methods, "__path__", [*nfft.methods.__path__, str(folder)])


@pytest.mark.usefixtures("registered")
def test_one_file_is_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nearest_mean" in registry.names("methods")
    run = tmp_path / "run"
    assert finetune.main(["--task", "digits", "--method", "nearest-mean", "--output-dir", str(run)]) == 0
    said = capsys.readouterr().out
    assert "method  nearest-mean: trains 2,890 parameters" in said
    results = nfft.Run(run).results
    assert results.quoted.top1 > 0.7
    assert (results.training.steps, results.training.l2) == (None, None)
    assert nfft.Run(run).record.method.artifact == "network"
    assert (run / "means.txt").is_file()
    assert load_file(run / "model.safetensors")["head.fc.weight"].shape == (10, 288)
    assert "nearest-mean" in (run / "README.md").read_text()
    assert {path.name for path in run.iterdir()} >= {"curves.png", "confusion.png", "README.md", "config.json"}

    scored = tmp_path / "scored.json"
    assert evaluate.main(["--model", str(run), "--task", "digits", "--output", str(scored)]) == 0
    again = json.loads(scored.read_text())["scores"]
    assert [tuple(pair) for pair in again["confusion"]] == list(results.quoted.confusion)


@pytest.mark.usefixtures("registered")
def test_what_it_does_not_heed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--task", "digits", "--method", "nearest-mean", "--lr", "0.1", "--output-dir", str(tmp_path / "run")]
    assert finetune.main(words) == 2
    assert "lr has no part in --method nearest-mean" in capsys.readouterr().err
