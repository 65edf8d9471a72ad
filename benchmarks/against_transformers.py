"""The same job by nfft and by transformers' examples of image classification, in turn.

    python benchmarks/against_transformers.py path/to/run_image_classification.py path/to/cifar10

or run_image_classification_no_trainer.py, with --python for another environment, whose transformers fits it.

`cifar10` is as for against_timm.py, and so is the job: network, epochs, batch, two loader processes. The script is run
as it is, by the Python given, whose transformers and evaluate have to fit it. The examples have neither AGC nor an
average of weights: they do less in a step, and score one set of weights where nfft scores two. The one with a Trainer
takes SGD with momentum as nfft does; the other knows AdamW alone, and reads images in its own process.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from same_job import BATCH, EPOCHS, SIDE, TRAIN, Timed, by_nfft, heading, images, into, matches, rows, start_of, timed

# What the examples load by the name of accuracy from the Hub, or from a folder of that name where they run.
ACCURACY = """
import datasets, evaluate
class Accuracy(evaluate.Metric):
    def _info(self):
        kinds = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", features=kinds)
    def _compute(self, predictions, references):
        return {"accuracy": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


def by_transformers(python: Path, script: Path, data: Path, work: Path) -> Timed:
    folder, log = work / "transformers", work / "transformers.log"
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    trainer = "no_trainer" not in script.name
    command = [
        str(python), str(script), "--model_name_or_path", str(work / "start"), "--ignore_mismatched_sizes",
        "--train_dir", str(data / "train"), "--validation_dir", str(data / "validation"),
        "--output_dir", str(folder), "--num_train_epochs", str(EPOCHS), "--lr_scheduler_type", "cosine",
        "--per_device_train_batch_size", str(BATCH), "--per_device_eval_batch_size", str(BATCH),
    ]  # fmt: skip
    if trainer:
        command += [
            "--do_train", "--do_eval", "--eval_strategy", "epoch", "--save_strategy", "epoch", "--use_cpu",
            "--optim", "sgd", "--optim_args", "momentum=0.9,nesterov=True", "--learning_rate", "0.1",
            "--weight_decay", "1e-5", "--dataloader_num_workers", "2", "--remove_unused_columns", "False",
            "--logging_steps", "1", "--disable_tqdm", "True", "--report_to", "none",
        ]  # fmt: skip
    else:
        command += ["--learning_rate", "1e-3", "--checkpointing_steps", "epoch"]
    epoch = -(-TRAIN // BATCH)

    def steps_in(text: str) -> list[bool]:
        if trainer:
            count = len(matches(r"^\{'loss'", text))
        else:  # a bar, drawn anew after each step
            count = max((int(each[1]) for each in matches(rf"\b(\d+)/{EPOCHS * epoch} ", text)), default=0)
        return [number % epoch == 0 for number in range(count)]

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "1"}
    found = timed(into(log, command), steps_in, log, folder=work, environment=environment)
    key = "eval_accuracy"
    found.top1 = json.loads((folder / "all_results.json").read_text())[key]
    return found


def version_of(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path, help="one of the examples")
    parser.add_argument("data", type=Path, help="a folder of Parquet files")
    parser.add_argument("--python", type=Path, default=sys.executable, help="runs the example (default: this one)")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    script = given.script.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images(given.data, work / "data")
        start_of(work / "start")
        (work / "start" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
        (work / "accuracy").mkdir()
        (work / "accuracy" / "accuracy.py").write_text(ACCURACY)
        ours, theirs = [], []
        for _ in range(given.rounds):
            ours.append(by_nfft(work / "data", work))
            theirs.append(by_transformers(given.python, script, work / "data", work))
        print(heading(script.name, given.rounds, transformers=version_of(given.python, "transformers")))
        print("\n".join(rows(script.stem, ours, theirs)))


if __name__ == "__main__":
    main()
