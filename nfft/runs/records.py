"""What a run writes down, as types: run.json, results.json, metrics.jsonl, and what is added to them later.

This is the schema. Cards, comparisons, studies and plots read these, and so does a run that is taken up again.
Shares (top-1, recall, clipped units) are in [0, 1], losses are mean negative log-likelihoods in nats, times are in
seconds, memory is in bytes, resolutions are in px.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from nfft.config.fields import incidental, labeled, listed
from nfft.config.recipe import Recipe
from nfft.config.soup import SoupKind
from nfft.config.views import SeveralViews
from nfft.runs.record import OMITTED, AtLeastOne, Count, Record

# run.json


@dataclass(frozen=True, kw_only=True)
class TaskRecord(Record):
    """What was trained on.

    Attributes:
        name: of the task's file, or of the folder or table.
        source: an id on the Hub, or in words where the data are local.
        title, homepage, citation, license, note: for the card, as the task has them.
        metric: the figure that a card quotes.
        settings: of the task, that were asked for; left out where there are none.
    """

    name: str = labeled("task")
    source: str = incidental()
    title: str | None = incidental(default=None)
    homepage: str | None = incidental(default=None)
    citation: str | None = incidental(default=None)
    license: str | None = incidental(default=None)
    metric: Literal["top1", "mean_per_class"] = incidental(default="top1")
    note: str | None = incidental(default=None)
    settings: dict[str, Any] | None = dataclasses.field(default=None, metadata={**OMITTED, "incidental": True})


@dataclass(frozen=True, kw_only=True)
class ModelRecord(Record):
    """What was trained: the checkpoint, and the network that was made of it.

    Attributes:
        name: of the checkpoint: an id on the Hub, a folder's name, or "scratch:" and an architecture.
        architecture, arguments: timm's name, and arguments of its constructor that were asked for.
        parameters, trained: how many numbers, and how many of them the method trains.
        fingerprint: SHA-256 of the checkpoint's weights; null for random ones.
        license: of the checkpoint.
    """

    name: str = labeled("model")
    architecture: str = incidental()
    parameters: AtLeastOne = incidental()
    trained: Count = incidental()
    arguments: dict[str, Any] = labeled("model arguments")
    fingerprint: str | None = labeled("weights fingerprint")
    license: str | None = incidental(default=None)

    @property
    def from_scratch(self) -> bool:
        return self.name.startswith("scratch:")


@dataclass(frozen=True, kw_only=True)
class RecipeRecord(Record):
    """How it was trained.

    Attributes:
        name: of the recipe.
        settings: every field of `nfft.Recipe`, as resolved, that the method heeds.
    """

    name: str = incidental()
    settings: dict[str, Any] = listed("")

    def __post_init__(self) -> None:
        # Cards compute with these, and every method has those of scoring; any other setting is shown as it is.
        scoring = {"test_resolution", "test_margin"}
        for name in sorted(scoring | (self.settings.keys() & {"total_steps", "batch_size", "train_resolution"})):
            if type(value := self.settings.get(name)) is not int:
                raise ValueError(f"Expected a whole number, got {value!r} - at `settings.{name}`")


@dataclass(frozen=True, kw_only=True)
class MethodRecord(Record):
    """Which part of the network was trained.

    Attributes:
        name, settings: of the method.
        artifact: what it saves: a whole "network", or an "adapter" of its base.
    """

    name: str = labeled("method", default="full")
    settings: dict[str, Any] = listed("method.", default_factory=dict)
    artifact: Literal["network", "adapter"] = incidental(default="network")


@dataclass(frozen=True, kw_only=True)
class UnusedRecord(Record):
    """Things of one kind in the data that were not used.

    Attributes:
        what: "file", "folder", "row", "split" or "column".
        reason: why.
        count: how many.
    """

    what: str
    reason: str
    count: Count


@dataclass(frozen=True, kw_only=True)
class PicturesRecord(Record):
    """A fingerprint of the pictures, which a copy of them has too. A resumption compares it.

    Attributes:
        names: SHA-256 of their names and order, below the folder of all.
        sizes: SHA-256 of the sizes of their files; null where they are none.
        sample: up to 64 hashes of some of them, which the seed has drawn.
        content: SHA-256 of all of them, where `task.check=all` asks for it.
    """

    names: str
    sizes: str | None
    sample: tuple[str, ...]
    content: str | None


@dataclass(frozen=True, kw_only=True)
class UnlabelledRecord(Record):
    """Images without labels that were trained on, too.

    Attributes:
        folder: its name.
        images: how many; those that are not used are among the others of the data that are not.
    """

    folder: str = incidental()
    images: Count = labeled("unlabelled images")


@dataclass(frozen=True, kw_only=True)
class TeacherRecord(Record):
    """Whose probabilities were learned beside the labels.

    Attributes:
        name: of a folder, the last part.
        fingerprint: SHA-256 of its weights.
    """

    name: str = incidental()
    fingerprint: str | None = labeled("teacher's weights fingerprint")


@dataclass(frozen=True, kw_only=True)
class DataRecord(Record):
    """How many images were trained on, and which.

    Attributes:
        classes: in the order of the logits.
        train, validation, test: images; 0 where there is no test split.
        shots: images of each class, where so many were drawn.
        skipped: images that could not be read.
        unused: what else of the data was not used.
        notes: what was said of the data, such as images in two splits.
        rendering: what transparent pictures lie on, and which values are black and white, where other than usual.
        fingerprint: SHA-256 of classes, labels, and sizes of images.
        pictures: their fingerprint; null in runs of earlier releases.
        unlabelled: images without labels; left out where there are none.
    """

    classes: tuple[str, ...] = incidental()
    train: Count = labeled("train images")
    validation: Count = labeled("validation images")
    test: Count = labeled("test images")
    shots: Count | None = labeled("shots images", default=None)
    skipped: Count = incidental(default=0)
    unused: tuple[UnusedRecord, ...] = incidental(default=())
    notes: tuple[str, ...] = incidental(default=())
    rendering: dict[str, Any] = listed("rendering ", default_factory=dict)
    fingerprint: str = labeled("data fingerprint")
    pictures: PicturesRecord | None = incidental(default=None)
    unlabelled: UnlabelledRecord | None = dataclasses.field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class HardwareRecord(Record):
    """Where it ran.

    Attributes:
        device, name: "cpu" or "cuda", and the maker's name of it.
        cores, memory_bytes: of the machine, whatever the device.
    """

    device: str
    name: str
    cores: Count | None
    memory_bytes: Count


@dataclass(frozen=True, kw_only=True)
class RunRecord(Record):
    """run.json: what was asked, what was settled, on what machine.

    Attributes:
        command: what was typed, without paths of the machine.
        started: in UTC, ISO 8601.
        task, recipe, method, data, model: what was trained on what, and how.
        teacher: whose probabilities were learned, too; left out where there is none.
        seed: of order, augmentation and new weights.
        precision: "fp32", "bf16" or "fp16".
        processes, threads: that trained together, and of a CPU in each.
        versions: of nfft, Python and the libraries that decide the result, by name.
        hardware: where it ran.
    """

    command: str = incidental()
    started: str = incidental()
    task: TaskRecord
    recipe: RecipeRecord
    method: MethodRecord = dataclasses.field(default_factory=MethodRecord)
    data: DataRecord
    seed: int
    model: ModelRecord
    teacher: TeacherRecord | None = dataclasses.field(default=None, metadata=OMITTED)
    precision: str
    processes: Count
    threads: Count = incidental()
    versions: dict[str, str] = incidental()
    hardware: HardwareRecord = incidental()

    @classmethod
    def modernized(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        content = dict(content)
        for name in content.keys() & {"task", "model"}:
            content[name] = _renamed(content[name], {"licence": "license"})
        method = content.get("method")
        if isinstance(method, dict) and "artifact" not in method:
            content["method"] = {**method, "artifact": "adapter" if method.get("is_adapter") else "network"}
        return content

    def decisive(self) -> dict[str, Any]:
        """What decides what comes out, by the name that a resumption calls it if it has changed."""
        return dict(_decisive(self))


def _renamed(content: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(content, dict):
        return content
    return {names.get(name, name): value for name, value in content.items()}


def _decisive(record: Record) -> Iterator[tuple[str, Any]]:
    free = {setting.name for setting in fields(Recipe) if setting.metadata.get("incidental")}
    for field in fields(record):
        value, says = getattr(record, field.name), field.metadata
        if says.get("incidental"):
            continue
        if is_dataclass(value):
            yield from _decisive(value)  # type: ignore[arg-type]
        elif (prefix := says.get("prefix")) is not None:
            yield from ((f"{prefix}{name}", setting) for name, setting in value.items() if name not in free)
        else:
            yield says.get("label", field.name), value


# results.json


@dataclass(frozen=True, kw_only=True)
class ClassScores(Record):
    """Scores of one class.

    Attributes:
        name: of the class.
        count: images of it that were scored.
        precision, recall, f1: 0 where there are no images to tell.
    """

    name: str
    count: Count
    precision: float
    recall: float
    f1: float

    def __post_init__(self) -> None:
        _check_share("recall", self.recall)


@dataclass(frozen=True, kw_only=True)
class Scores(Record):
    """Scores of one set of weights on one split.

    Attributes:
        split: "train", "validation", "test" or "all".
        count, left_out: images that were scored, and that could not be read.
        resolution: at which they were.
        views: of each, whose probabilities were averaged; left out for the usual one.
        loss, top1: means over images.
        top5: null up to five classes.
        mean_per_class: mean recall.
        ece: expected calibration error, 15 bins.
        per_class: in the order of the logits.
        confusion: (true class, predicted class, images) of each pair that occurs, classes as numbers.
        images_per_second: of all processes together.
    """

    split: str
    count: Count
    left_out: Count
    resolution: Count
    loss: float
    top1: float
    top5: float | None
    mean_per_class: float
    ece: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, int, int], ...]
    images_per_second: float
    views: SeveralViews | None = dataclasses.field(default=None, metadata=OMITTED)

    def __post_init__(self) -> None:
        _check_share("top1", self.top1)
        classes = range(len(self.per_class))
        for pair in self.confusion:
            if pair[0] not in classes or pair[1] not in classes or pair[2] < 1:
                raise ValueError(f"Expected two of {len(classes)} classes and a number of images, got {list(pair)}")

    @property
    def in_words(self) -> str:
        """The figures that people look at first, on one line."""
        top5 = f", top-5 {self.top5:.2%}" if self.top5 is not None else ""
        return f"top-1 {self.top1:.2%}{top5}, loss {self.loss:.3f}, {self.count:,} images"

    def metric(self, name: str) -> float | None:
        """The figure called `name`: "top1", "top5" or "mean_per_class"."""
        return getattr(self, name)


def _check_share(name: str, value: float) -> None:
    # What is not a number may pass: a card shows it as a dash.
    if value < 0 or value > 1:
        raise ValueError(f"Expected a share from 0 to 1, got {value} - at `{name}`")


@dataclass(frozen=True, kw_only=True)
class Candidate(Record):
    """Scores of one of the sets of weights that a run ends with.

    Attributes:
        top1, loss: on validation the larger top-1 is kept; of equal ones, the lower loss.
    """

    top1: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingRecord(Record):
    """What training took.

    Attributes:
        steps: optimizer steps; left out for a method that takes none.
        images: that went through the network, in training.
        seconds: in steps (or in features and solving) alone.
        clipped: share of units whose gradient AGC shortened, in the mean over steps; left out where it is not known.
        l2: the penalty of the classifier that was kept; left out where none was solved for.
        wall_seconds: with evaluation and all else, interruptions left out.
        images_per_second: in `seconds`.
        peak_memory_bytes: of the GPU, or of the process on a CPU.
    """

    steps: Count | None = dataclasses.field(default=None, metadata=OMITTED)
    images: Count
    seconds: float
    clipped: float | None = dataclasses.field(default=None, metadata=OMITTED)
    l2: float | None = dataclasses.field(default=None, metadata=OMITTED)
    wall_seconds: float
    images_per_second: float
    peak_memory_bytes: Count

    @property
    def is_solved(self) -> bool:
        """Whether a classifier was solved for on fixed features, in place of optimizer steps."""
        return self.l2 is not None


@dataclass(frozen=True, kw_only=True)
class StagesRecord(Record):
    """Two classifiers of one network: over several of its stages, and over the last layer alone.

    The scores of the results are those of the first, by which nfft answers. timm, transformers and whatever else loads
    model.safetensors have the second, whose scores are here.

    Attributes:
        stages: that the first sees beside the last layer, as timm's `forward_intermediates` counts them; none where
            validation chose the last layer alone, and the two are one.
        l2: the penalty of the second; the first's is in `training`.
        validation, test: scores of the second; `test` is null where the task has no such split.
    """

    stages: tuple[int, ...]
    l2: float
    validation: Candidate
    test: Candidate | None


@dataclass(frozen=True, kw_only=True)
class HeadStartRecord(Record):
    """A classifier that was fitted to the checkpoint's features before the first step.

    Attributes:
        l2: its penalty.
        validation: its scores there, with those features.
        seconds: that it took; they are among those of `training`.
    """

    l2: float
    validation: Candidate
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SoupMember(Record):
    """A run whose weights a soup may have.

    Attributes:
        name: of its folder.
        method, seed: of the run.
        validation: its scores, measured as the soup's are.
        kept: whether the soup has its weights; a greedy one leaves some out.
    """

    name: str
    method: str
    seed: int
    validation: Candidate
    kept: bool


@dataclass(frozen=True, kw_only=True)
class SoupRecord(Record):
    """Of which runs a network is a soup.

    Attributes:
        kind: "uniform" for the mean, "greedy" for the mean of those that do not lower its top-1 on validation, "stock"
            for what lies between the mean and the pre-trained weights, by the angles between the runs.
        members: the runs, in the order in which they were named.
        share: of the mean, in the mean over all numbers, where the rest is the pre-trained weights'; left out for other
            kinds.
    """

    kind: SoupKind
    members: tuple[SoupMember, ...]
    share: float | None = dataclasses.field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class Results(Record):
    """results.json: which weights were kept, and how good they are.

    Attributes:
        weights: that were kept: "raw", or "ema" for the average; of further ones, "ema-0.99" is that of this decay,
            "soup" the mean of all these, and "last-3" the mean of the raw weights at the last three evaluations.
            Of a soup of runs, "soup".
        candidates: of which validation chose, by name.
        validation, test: scores of the weights that were kept; `test` is null where the task has no such split.
        training: what it took.
        stages: of a classifier that sees several stages of the network; left out where the last layer is all.
        head_start: the classifier that training began with, where `method.start=probe` fitted one.
        soup: of which runs this is one; left out for a run. Then `training` is what all of them took together.
        files: SHA-256 of the network and the plots, by name, as they were written; left out by earlier releases.
    """

    weights: str
    candidates: dict[str, Candidate]
    validation: Scores
    test: Scores | None
    training: TrainingRecord
    stages: StagesRecord | None = dataclasses.field(default=None, metadata=OMITTED)
    head_start: HeadStartRecord | None = dataclasses.field(default=None, metadata=OMITTED)
    soup: SoupRecord | None = dataclasses.field(default=None, metadata=OMITTED)
    files: dict[str, str] | None = dataclasses.field(default=None, metadata=OMITTED)

    @property
    def quoted(self) -> Scores:
        """The scores to quote: of test, or of validation where there is no test split."""
        return self.test or self.validation


# metrics.jsonl: one line an event


@dataclass(frozen=True, kw_only=True)
class StepMetrics(Record):
    """One optimizer step, on its own images, augmented and perhaps mixed. A figure that is not finite is null.

    Attributes:
        kind: of the line.
        step: counted from 1.
        loss, top1: means over all processes; top-1 against an image's own class.
        lr: the learning rate.
        clipped: share of units whose gradient AGC shortened.
        images_per_second: of all processes together.
    """

    kind: Literal["train"] = "train"
    step: int
    loss: float | None
    top1: float | None
    lr: float
    clipped: float | None
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class ValidationMetrics(Record):
    """An evaluation on validation.

    Attributes:
        kind: of the line.
        step: after which it was.
        weights: "raw", or "ema" for the average; others as in results.json.
        loss, top1: of these.
    """

    kind: Literal["validation"] = "validation"
    step: int
    weights: str
    loss: float
    top1: float


@dataclass(frozen=True, kw_only=True)
class FeatureMetrics(Record):
    """Features of a split, all of which are there.

    Attributes:
        kind: of the line.
        name: of the split, or of an augmented view of it.
        images, seconds: how many, and how long it took.
    """

    kind: Literal["features"] = "features"
    name: str
    images: Count
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SolutionMetrics(Record):
    """The classifier that was solved for at one penalty.

    Attributes:
        kind: of the line.
        l2: the penalty.
        stages: that it sees beside the last layer, as in `StagesRecord`; absent where there are none.
        iterations: of the solver.
        settled: false where the solver ended before it came to rest; absent otherwise.
        train_loss: on the features that it was solved for.
        loss, top1: on validation.
    """

    kind: Literal["solution"] = "solution"
    l2: float
    stages: tuple[int, ...] | None = dataclasses.field(default=None, metadata=OMITTED)
    iterations: int
    settled: Literal[False] | None = dataclasses.field(default=None, metadata=OMITTED)
    train_loss: float
    loss: float
    top1: float


Metrics = StepMetrics | ValidationMetrics | FeatureMetrics | SolutionMetrics
METRICS: Mapping[str, type[Metrics]] = {
    "train": StepMetrics,
    "validation": ValidationMetrics,
    "features": FeatureMetrics,
    "solution": SolutionMetrics,
}  # fmt: skip


def metrics_from_json(content: Any) -> Metrics:
    """A line of metrics.jsonl.

    Raises:
        ValueError: for a line of no known kind, or one whose entries do not fit.
    """
    kind = METRICS.get(str(content.get("kind"))) if isinstance(content, dict) else None
    if kind is None:
        raise ValueError("no line of metrics")
    return kind.from_json(content)


# Beside them


@dataclass(frozen=True, kw_only=True)
class Skipped(Record):
    """A line of skipped.jsonl: an image that could not be read.

    Attributes:
        split: that it is missing from.
        image: its path, or its row where images are embedded.
        reason: why.
    """

    split: str
    image: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel(Record):
    """Whose scores these are.

    Attributes:
        name, architecture, fingerprint: as in run.json.
    """

    name: str
    architecture: str
    fingerprint: str | None


@dataclass(frozen=True, kw_only=True)
class EvaluatedTask(Record):
    """What was scored.

    Attributes:
        name, title, source: as in run.json.
        source_hash: tells data of the same name apart, and does not say where they lie.
    """

    name: str
    title: str | None = None
    source: str
    source_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class AddedEvaluation(Record):
    """An entry of evaluations.json: what a card shows of scores on other data.

    Attributes:
        task, scores, resolution: what was scored, how good it was, and at which resolution.
        date: in UTC, ISO 8601.
        command: what was typed, without paths of the machine.
    """

    task: EvaluatedTask
    scores: Scores
    resolution: int
    date: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Evaluation(AddedEvaluation):
    """What `nfft evaluate` writes.

    Attributes:
        model: whose scores these are.
        unused: what of the data was not used.
        precision, versions, hardware: as in run.json.
        revision: of the model's repository, where one was named.
    """

    model: EvaluatedModel
    unused: tuple[UnusedRecord, ...] = ()
    precision: str
    revision: str | None = None
    versions: dict[str, str]
    hardware: HardwareRecord

    def added(self) -> AddedEvaluation:
        """What of it is added to a run."""
        return AddedEvaluation(**{field.name: getattr(self, field.name) for field in fields(AddedEvaluation)})


@dataclass(frozen=True, kw_only=True)
class PushRecord(Record):
    """pushed.json: where the run was put.

    Attributes:
        repository: the last one.
        cards: SHA-256 of each card that it has had there and before.
        proposed: of each repository, the cards of proposals to it that the Hub has not answered.
    """

    repository: str | None = None
    cards: tuple[str | None, ...] = ()
    proposed: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
