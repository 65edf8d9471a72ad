"""A soup of runs: one network out of the weights of several, scored and written down as a run is."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from nfft.auto import AutoNFNet
from nfft.command_line import public_path
from nfft.config.soup import SOUP_KINDS, SoupKind
from nfft.config.task import Task
from nfft.data.decode import evaluation_view
from nfft.data.sources.memory import task_of
from nfft.data.splits import Data, Split
from nfft.data.workers import workers_end
from nfft.distributed.accelerator import default_workers, make_accelerator, precision_of, set_threads
from nfft.errors import UserError, nearest
from nfft.evaluation.metrics import Predictions, candidate_of, scores_of
from nfft.evaluation.predictor import Predictor
from nfft.experiments.soup_members import Member, check_alike, find_data, find_members, open_members
from nfft.files import check_new_folder, new_folder
from nfft.machine import hardware, peak_memory, versions
from nfft.models.build import build_network, keeps_classifier
from nfft.models.resolve import find_checkpoint
from nfft.models.soup import State, greedy, model_stock
from nfft.optim.averages import SOUP, mean_of
from nfft.optim.param_groups import classifier
from nfft.runs.folder import start_run
from nfft.runs.records import (
    HardwareRecord,
    MethodRecord,
    Results,
    RunRecord,
    SoupMember,
    SoupRecord,
    TrainingRecord,
)
from nfft.text import shorten
from nfft.training.outputs import write_results_of
from nfft.training.run import Run

BATCH = 128


def soup(
    runs: str | Path | Sequence[str | Path | Run],
    output_dir: str | Path,
    kind: SoupKind = "uniform",
    *,
    task: Any = None,
    base: str | Path | None = None,
    precision: str = "auto",
    **settings: Any,
) -> Run:
    """Make one network of the weights of several runs; what `nfft soup` does.

    Args:
        runs: at least two that have ended, of one network, from the same weights, on the same data: each, its folder,
            or how the names of several folders begin, such as "compare/full" for compare/full-0, compare/full-1 ...
        output_dir: a new folder, which is like that of a run.
        kind: "uniform" for the mean; "greedy" for the mean of those that, from the best on, do not lower its top-1 on
            validation; "stock" for Model Stock, between the mean and the pre-trained weights.
        task: what the runs were trained on, as for `fine_tune`, where they do not say where that is on this machine, as
            of files and of data in memory.
        base: the pre-trained weights, for "stock", where they are in a folder.
        precision: "fp32", "bf16", "fp16", or "auto": bf16 where the device is fast at it, else fp32.
        settings: of the task, such as label="species", where the first run had others.

    Returns:
        The soup: its folder, record, results, model and card are as of a run.

    Raises:
        UserError: for runs that make no soup, data that are not those of the runs, or weights that cannot be had.

    Source: arXiv 2203.05482 (uniform and greedy soups), arXiv 2403.19522 (Model Stock).
    """
    every = [runs] if isinstance(runs, str | Path) else [*runs]
    names = [run.folder if isinstance(run, Run) else run for run in every]
    words = [repr([public_path(str(name)) for name in names]), f"kind={kind!r}"]
    make_soup(
        names,
        Path(output_dir),
        kind,
        task=task if task is None or isinstance(task, str | Path | Task) else task_of(task),
        base=base,
        precision=precision,
        settings=settings,
        command=f"nfft.soup({', '.join(words)})",
        say=lambda line: None,
    )
    return Run(output_dir)


@workers_end()
def make_soup(
    names: Sequence[str | Path],
    output: Path,
    kind: SoupKind,
    *,
    task: str | Path | Task | None,
    base: str | Path | None,
    precision: str,
    settings: Mapping[str, Any],
    command: str,
    say: Callable[[str], None],
) -> Results:
    """The same, for a command.

    Args:
        command: what was typed or called, for others to read.
        say: is told a line about each network that is scored along the way.
    """
    if kind not in SOUP_KINDS:
        raise UserError(f"unknown kind of soup {shorten(repr(kind), 80)}; {nearest(str(kind), SOUP_KINDS)}")
    check_new_folder(output, "--output-dir ")
    members = find_members(names)
    check_alike(members)
    data, skipped = find_data(members, task, settings)
    model, states = open_members(members)
    anchor = _anchor(members, model, base) if kind == "stock" else None
    accelerator = make_accelerator(precision)
    set_threads(None)
    scorer = Scorer(model, members[0].record, data, accelerator)

    with new_folder(output, "--output-dir ") as folder:
        alone = [scorer.predict(data.validation, state) for state in states]
        for member, predictions in zip(members, alone, strict=True):
            say(f"{member.folder.name}: validation top-1 {predictions.top1:.2%}")
        mixed, kept, share = _mixed(kind, states, anchor, alone, scorer, say)
        record = _record(members[0].record, command, accelerator)
        start_run(folder, record, skipped)
        model.network.load_state_dict(mixed)
        model.save_pretrained(folder)
        entries = tuple(
            SoupMember(
                name=member.folder.resolve().name,
                method=member.record.method.name,
                seed=member.record.seed,
                validation=candidate_of(predictions),
                kept=number in kept,
            )
            for number, (member, predictions) in enumerate(zip(members, alone, strict=True))
        )
        results = scorer.results(mixed, SoupRecord(kind=kind, members=entries, share=share), members)
        write_results_of(folder, record, results)
    return results


def _mixed(
    kind: SoupKind,
    states: Sequence[State],
    anchor: State | None,
    alone: Sequence[Predictions],
    scorer: "Scorer",
    say: Callable[[str], None],
) -> tuple[State, Sequence[int], float | None]:
    """The soup's weights, which runs they are of, and what share of Model Stock's is the mean's."""
    everyone = range(len(states))
    if anchor is not None:
        mixed, share = model_stock(states, anchor)
        return mixed, everyone, share
    if kind == "uniform":
        return mean_of(states), everyone, None

    def score(state: State) -> float:
        predictions = scorer.predict(scorer.data.validation, state)
        say(f"with one more: validation top-1 {predictions.top1:.2%}")
        return predictions.top1

    # Of equal top-1, the run of the lower loss goes first.
    order = sorted(everyone, key=lambda number: alone[number].loss)
    chosen = greedy([states[number] for number in order], [alone[number].top1 for number in order], score)
    kept = [order[number] for number in chosen]
    return mean_of([states[number] for number in kept]), kept, None


class Scorer:
    """Scores sets of weights of one network on the splits of a task, as the runs were scored."""

    def __init__(self, model: AutoNFNet, run: RunRecord, data: Data, accelerator: Accelerator) -> None:
        self.model, self.data, self.accelerator = model, data, accelerator
        self.resolution = int(run.recipe.settings["test_resolution"])
        self.network: nn.Module = model.network.to(accelerator.device)
        self.predictor = Predictor(
            accelerator,
            partial(evaluation_view, resolution=self.resolution, margin=run.recipe.settings["test_margin"]),
            model.preprocessing["mean"],
            model.preprocessing["std"],
            workers=default_workers(accelerator),
            batch_size=BATCH,
            keeps_views=True,
        )

    def predict(self, split: Split, state: State) -> Predictions:
        """What the network says of a split with these weights."""
        on_device = {name: tensor.to(self.accelerator.device) for name, tensor in state.items()}
        network = self.predictor.folded(self.network, on_device)
        return self.predictor.predict({SOUP: network}, split)[SOUP]

    def results(self, state: State, soup: SoupRecord, members: Sequence[Member]) -> Results:
        """results.json of a soup with these weights."""
        tested = self.data.test
        predictions = {split.name: self.predict(split, state) for split in (self.data.validation, tested) if split}
        classes = list(self.data.classes)
        scores = {
            name: scores_of(each, split=name, classes=classes, resolution=self.resolution)
            for name, each in predictions.items()
        }
        return Results(
            weights=SOUP,
            candidates={SOUP: candidate_of(predictions["validation"])},
            validation=scores["validation"],
            test=scores.get("test"),
            training=_effort(members, str(self.accelerator.device)),
            soup=soup,
        )


def _effort(members: Sequence[Member], device: str) -> TrainingRecord:
    """What training all of the runs took."""
    every = [member.results.training for member in members]
    images, seconds = sum(each.images for each in every), sum(each.seconds for each in every)
    steps = [each.steps for each in every if each.steps is not None]
    return TrainingRecord(
        steps=sum(steps) if steps else None,
        images=images,
        seconds=seconds,
        wall_seconds=sum(each.wall_seconds for each in every),
        images_per_second=images / seconds if seconds else 0.0,
        peak_memory_bytes=max(peak_memory(device), *(each.peak_memory_bytes for each in every)),
    )


def _record(first: RunRecord, command: str, accelerator: Accelerator) -> RunRecord:
    """run.json of a soup: that of its first run, but for how the soup was made, and that it is a whole network."""
    return replace(
        first,
        command=command,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        method=MethodRecord(name=first.method.name, settings=first.method.settings, artifact="network"),
        precision=precision_of(accelerator),
        processes=1,
        threads=torch.get_num_threads(),
        versions=versions(),
        hardware=HardwareRecord(**hardware(str(accelerator.device))),
    )


def _anchor(members: Sequence[Member], model: AutoNFNet, base: str | Path | None) -> State:
    """The weights that the runs started from, without a classifier of other classes.

    Raises:
        UserError: when they cannot be had, or are others.
    """
    run = members[0].record
    name = str(base) if base is not None else run.model.name
    mend = "Name them with --base: their folder, or their name on the Hub."
    try:
        checkpoint = find_checkpoint(name, {}).plain
    except UserError as error:
        if base is not None:
            raise
        raise UserError(
            f"Model Stock needs the weights that the runs started from, {shorten(name, 200)}, which are not found: "
            f"{shorten(str(error), 300)} {mend}"
        ) from error
    if checkpoint.fingerprint != run.model.fingerprint:
        raise UserError(
            f"Model Stock needs the weights that the runs started from; {shorten(name, 200)} has others. {mend}"
        )
    network = build_network(checkpoint, model.labels, dropout=0, stochastic_depth=0)
    state, head = network.state_dict(keep_vars=True), classifier(network)
    fresh = () if keeps_classifier(checkpoint, model.labels) else (head.weight, head.bias)
    return {name: tensor.detach() for name, tensor in state.items() if not any(tensor is each for each in fresh)}
