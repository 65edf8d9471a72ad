"""What a run leaves for others: the network, results.json, plots and the card."""

from dataclasses import replace
from pathlib import Path

from nfft.files import fingerprint_of, sync
from nfft.models.transforms import squash_preprocessing
from nfft.reporting.plots.confusion import plot_confusion
from nfft.reporting.plots.curves import plot_curves
from nfft.reporting.plots.figure import save_figure
from nfft.reporting.plots.penalties import plot_penalties
from nfft.reporting.publish import write_card
from nfft.runs.folder import CONFUSION, CURVES, METRICS, NETWORK, read_metrics, write_results
from nfft.runs.records import Results, RunRecord
from nfft.training.base import BaseTrainer


def write_outputs(trainer: BaseTrainer, record: RunRecord, results: Results) -> None:
    """The network as others load it, plots, the card and, when all of that is there, results.json."""
    plan, folder = trainer.plan, trainer.folder
    recipe, checkpoint = plan.recipe, plan.checkpoint
    plan.method.save(
        trainer.network,
        folder,
        checkpoint=checkpoint.rendered_as(plan.data.train.rendering),
        classes=plan.data.classes,
        preprocessing=squash_preprocessing(checkpoint, recipe.test_resolution, recipe.test_margin),
    )
    metrics = read_metrics(folder)
    plot = plot_penalties if results.training.is_solved else plot_curves
    save_figure(plot(metrics, f"{record.model.name} on {record.task.name}"), folder / CURVES)
    sync(folder / METRICS)
    write_results_of(folder, record, results)


def write_results_of(folder: Path, record: RunRecord, results: Results) -> None:
    """What follows from a network that is there and its scores: the confusion matrix, the card and results.json."""
    title = f"{record.model.name} on {record.task.name}, {results.quoted.split}"
    save_figure(plot_confusion(results.quoted, title), folder / CONFUSION)
    write_card(folder, results=results)
    # The last: where it is, the run has ended and is whole.
    written = [name for name in (*NETWORK, CURVES, CONFUSION) if (folder / name).is_file()]
    write_results(folder, replace(results, files={name: fingerprint_of(folder / name) for name in written}))
