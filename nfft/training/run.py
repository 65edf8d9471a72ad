"""A run from its config to a whole run folder: plan, train, score, write, and push."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nfft.auto import AutoNFNet
from nfft.command_line import is_main_process, public_path
from nfft.config.recipe import DURATIONS, Recipe
from nfft.config.run_config import RunConfig
from nfft.config.task import Task
from nfft.cores import cores
from nfft.data.sources.memory import task_of
from nfft.data.workers import workers_end
from nfft.distributed.accelerator import check_alike, lone_process, make_accelerator
from nfft.hub.upload import check_repository, has_token
from nfft.runs.folder import CARD, check_folder, hold_run, read_results, read_run, resume_run, start_run, started_as
from nfft.runs.records import Results, RunRecord
from nfft.training.base import BaseTrainer
from nfft.training.interrupt import Interrupt
from nfft.training.plan import make_plan
from nfft.training.recording import check_pictures, record_of, results_of, start_of
from nfft.training.tracking import Everyone, MetricsFile, ProgressBar, Tracker


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop and has saved its state: the same config with `resume` goes on.

    Attributes:
        reached: how far it came, for people; nothing at its start.
        exit_status: 128 and the number of the signal, as shells count.
    """

    def __init__(self, reached: str, exit_status: int) -> None:
        super().__init__(f"stopped after {reached or 'no step'}, saved")
        self.reached, self.exit_status = reached, exit_status


class Run:
    """A run that has ended, in its folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @cached_property
    def record(self) -> RunRecord:
        """What was run: settings, data, versions, hardware."""
        return read_run(self.folder)

    @cached_property
    def results(self) -> Results:
        """What came out: scores of each split, and what training took."""
        return read_results(self.folder)

    @cached_property
    def model(self) -> AutoNFNet:
        """The network with its labels, ready to predict."""
        return AutoNFNet.from_pretrained(self.folder)

    @property
    def card(self) -> str:
        """The model card, Markdown with a YAML head."""
        return (self.folder / CARD).read_text(encoding="utf-8")


def fine_tune(
    task: Any,
    model: str | Path = "nfnet-nano",
    *,
    recipe: str = "auto",
    method: str = "full",
    output_dir: str | Path | None = None,
    resume: bool = False,
    push_to: str | None = None,
    private: bool | None = None,
    teacher: str | Path | None = None,
    seed: int = 0,
    shots: int | None = None,
    precision: str = "auto",
    model_args: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Fine-tune a network on labeled images, in this process; what `nfft finetune` does.

    Args:
        task: a folder of images, a table, a name of the catalog, an id on the Hub, or a Task; or data in memory: a
            `datasets.Dataset` or `DatasetDict`, or a pair of images and labels.
        model: a checkpoint's id on the Hub, its folder, "nfnet-nano", or "scratch:" and an architecture of timm's.
        recipe: which decides every setting.
        method: what of the network is trained.
        output_dir: the run folder; runs/TASK-MODEL when absent.
        resume: take up the run in the folder where it was left.
        push_to: a repository of the Hub, "user/name", that the run is put into.
        private: whether that is private when it is made.
        teacher: a run's folder, or another model that tells the task's classes apart: its probabilities are learned
            beside the labels, and are the targets of the images in the folder task_unlabelled.
        seed: of order, augmentation and new weights.
        shots: train on so many images of each class, drawn by the seed.
        precision: "auto", "fp32", "bf16" or "fp16".
        model_args: arguments of timm's constructor, with "scratch:" only.
        settings: of the recipe (lr=0.05, epochs=20), or of task and method with a prefix: task_label="species",
            method_rank=16.

    Returns:
        The finished run.

    Raises:
        UserError: for whatever is to be put right, in the words of the command.
        Interrupted: after Ctrl-C, once the step is finished and saved.
    """
    named = {_setting(name): value for name, value in settings.items()}
    config = RunConfig(
        task=str(task) if isinstance(task, str | Path) else task if isinstance(task, Task) else task_of(task),
        model=str(model),
        recipe=recipe,
        method=method,
        model_args=model_args or {},
        settings=named,
        teacher=str(teacher) if teacher is not None else None,
        seed=seed,
        shots=shots,
        precision=precision,
        output_dir=Path(output_dir) if output_dir is not None else None,
        resume=resume,
        push_to=push_to,
        private=private,
    )
    return train(replace(config, command=_call(config)), [ProgressBar()])


def _setting(name: str) -> str:
    """A setting as a config calls it: of the task or the method, if that is its first word."""
    owner, _, rest = name.partition("_")
    return f"{owner}.{rest}" if owner in ("task", "method") and rest else name


def _call(config: RunConfig) -> str:
    """The call of `fine_tune` that a config comes from, for others to read: of paths only the last parts."""
    words = [repr(public_path(config.task_name)), f"model={public_path(config.model)!r}"]
    defaults = RunConfig(task="")
    for name in ("recipe", "method", "model_args", "seed", "shots", "precision"):
        if (value := getattr(config, name)) != getattr(defaults, name):
            words.append(f"{name}={value!r}")
    if config.teacher is not None:
        words.append(f"teacher={public_path(config.teacher)!r}")
    for name, value in config.settings.items():
        shown = public_path(value) if isinstance(value, str) else value
        words.append(f"{name.replace('.', '_')}={shown!r}")
    return f"nfft.fine_tune({', '.join(words)})"


@workers_end()
def train(config: RunConfig, trackers: Sequence[Tracker] = (), *, held: ExitStack | None = None) -> Run:
    """Plan, train, score and write what `config` asks for, in each of the processes that share the run.

    Args:
        trackers: are told how it goes, in the main process.
        held: holds the folder, which has been checked, until the run has ended; the folder is held here when absent.

    Raises:
        UserError: for whatever the user has to put right.
        Interrupted: when the run was asked to stop, and has saved its state.
    """
    folder = config.folder
    with held or ExitStack() as holding:
        if held is None and is_main_process():
            check_folder(folder, resume=config.resume)
            # From the first moment: no other is to find the folder free while this one looks at its data.
            holding.enter_context(hold_run(folder))
        _train(config, trackers)
    if config.push_to is not None and is_main_process():
        from nfft.reporting.publish import push_run

        Everyone(trackers).tell(
            push_run(folder, config.push_to, private=config.private, revision=None, create_pr=False)
        )
    return Run(folder)


def _train(config: RunConfig, trackers: Sequence[Tracker]) -> None:
    """The same, in a folder that is held."""
    folder = config.folder
    notes = check_push(config.push_to)
    accelerator = make_accelerator(config.precision)
    is_main = accelerator.is_main_process
    # One process of each machine looks at the data; the others find what it has found out.
    with accelerator.local_main_process_first():
        plan = make_plan(config, keeps=accelerator.is_local_main_process)
    if config.push_to is not None:
        plan.method.check_shareable(plan.checkpoint, folder)
    if config.resume:
        plan = replace(plan, recipe=_as_started(plan.recipe, folder))
    check_alike(
        {
            "images": [plan.fingerprint, *map(len, plan.data.splits)],
            "weights": [plan.checkpoint.fingerprint, plan.teacher and plan.teacher.checkpoint.fingerprint],
            "settings of the run": [getattr(plan.recipe, name) for name in (*DURATIONS, "accumulation_steps")],
        }
    )
    trainer: BaseTrainer = plan.method.trainer(plan, accelerator, folder)
    plan = trainer.plan
    record = record_of(trainer)
    notes += lone_process() + plan.notes + trainer.thread_lines + trainer.loading_lines()
    everyone = Everyone([MetricsFile(folder), *trackers] if is_main else [])
    # The others touch nothing of a folder before the main process has it.
    accelerator.wait_for_everyone()
    if config.resume:
        now = record
        record, differences = resume_run(folder, now, plan.skipped, mends=is_main)
        notes += differences + check_pictures(folder, record, now, plan.data.splits) + trainer.restore()
    elif is_main:
        start_run(folder, record, plan.skipped)
    trainer.record = record
    check_alike({"checkpoints": trainer.step})
    everyone.start(start_of(trainer, record, notes))
    with Interrupt() as interrupt:
        finished = trainer.fit(everyone, interrupt.requested)
    if not finished:
        raise Interrupted(trainer.reached, interrupt.exit_status)
    results = results_of(trainer)
    if results is not None:
        # Plots and cards take libraries that would keep the first step waiting.
        from nfft.training.outputs import write_outputs

        write_outputs(trainer, record, results)
        everyone.finish(folder, results)
    accelerator.end_training()


def _as_started(recipe: Recipe, folder: Path) -> Recipe:
    """`recipe` with what the run in `folder` found out about the machine it was started on.

    Another may have other memory, other speed and other neighbors: the run goes on as it was cut and planned.
    """
    started = started_as(folder)
    if started is None:
        return recipe
    measured = ["accumulation_steps"] if recipe.accumulation_steps is None else []
    measured += ["total_steps", "evaluations"] if recipe.minutes is not None else []
    known = {name: started.recipe.settings.get(name) for name in measured}
    if recipe.threads is None and "OMP_NUM_THREADS" not in os.environ:
        # Sums of fewer parts differ in their last bits.
        known["threads"] = min(started.threads, cores())
    return replace(recipe, **{name: value for name, value in known.items() if value is not None})


def check_push(repository: str | None) -> list[str]:
    """See that a push at the end can work, before hours of training; a line when it cannot yet."""
    if repository is None:
        return []
    check_repository(repository)
    return [] if has_token() else ["nobody is logged in to the Hub here: run `hf auth login` before the run ends"]
