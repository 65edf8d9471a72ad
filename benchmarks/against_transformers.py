"""The same job by nfft and by transformers' example of image classification with its Trainer, in turn.

    python benchmarks/against_transformers.py path/to/run_image_classification.py path/to/cifar10

`cifar10` is as for against_timm.py, and so is the job: network, epochs, batch, SGD with Nesterov momentum, two loader
processes. The script is run as it is, by the Python of `--python`, whose transformers and evaluate have to fit it. It
has neither AGC nor an average of weights: it does less in a step, and scores one set of weights where nfft scores two.

The other example, run_image_classification_no_trainer.py, does not take networks of timm's (4.56: it asks an image
processor for its size, which theirs has not).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from same_job import BATCH, EPOCHS, TRAIN, Timed, by_nfft, heading, images, into, rows, start_of, timed

# What the script loads from the Hub by the name of accuracy, or from a folder of that name where it runs.
ACCURACY = """
import datasets
import evaluate


class Accuracy(evaluate.Metric):
    def _info(self):
        kinds = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", features=kinds)

    def _compute(self, predictions, references):
        return {"accuracy": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""


def by_transformers(python: Path, script: Path, data: Path, work: Path) -> Timed:
    folder, log = work / "transformers", work / "transformers.log"
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    command = [
        str(python), str(script), "--model_name_or_path", str(work / "start"), "--ignore_mismatched_sizes",
        "--train_dir", str(data / "train"), "--validation_dir", str(data / "validation"), "--output_dir", str(folder),
        "--do_train", "--do_eval", "--eval_strategy", "epoch", "--save_strategy", "epoch", "--use_cpu",
        "--num_train_epochs", str(EPOCHS), "--lr_scheduler_type", "cosine", "--learning_rate", "0.1",
        "--optim", "sgd", "--optim_args", "momentum=0.9,nesterov=True", "--weight_decay", "1e-5",
        "--per_device_train_batch_size", str(BATCH), "--per_device_eval_batch_size", str(BATCH),
        "--dataloader_num_workers", "2", "--remove_unused_columns", "False",
        "--logging_steps", "1", "--disable_tqdm", "True", "--report_to", "none",
    ]  # fmt: skip
    epoch = -(-TRAIN // BATCH)

    def steps_in(text: str) -> list[bool]:
        return [number % epoch == 0 for number in range(text.count("{'loss'"))]

    # It sets out from files alone, and is not to ask the Hub after them; what it prints is the clock.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    found = timed(into(log, command), steps_in, log, folder=work, environment=environment)
    found.top1 = json.loads((folder / "all_results.json").read_text())["eval_accuracy"]
    return found


def version_of(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path, help="transformers' run_image_classification.py")
    parser.add_argument("data", type=Path, help="a folder of Parquet files")
    parser.add_argument("--python", type=Path, default=sys.executable, help="runs the script (default: this one)")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images(given.data, work / "data")
        start_of(work / "start")
        (work / "accuracy").mkdir()
        (work / "accuracy" / "accuracy.py").write_text(ACCURACY)
        ours, theirs = [], []
        for _ in range(given.rounds):
            ours.append(by_nfft(work / "data", work))
            theirs.append(by_transformers(given.python, given.script.resolve(), work / "data", work))
        print(heading("transformers' Trainer", given.rounds, transformers=version_of(given.python, "transformers")))
        print("\n".join(rows("fp32, no AGC in transformers", ours, theirs)))


if __name__ == "__main__":
    main()
