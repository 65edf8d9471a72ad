"""Fine-tune Normalizer-Free networks the way their authors did."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet as AutoNFNet
    from nfft.auto import evaluate as evaluate
    from nfft.auto import predict as predict
    from nfft.config.method import Method as Method
    from nfft.config.recipe import Facts as Facts
    from nfft.config.recipe import Recipe as Recipe
    from nfft.config.recipe import clipping_for as clipping_for
    from nfft.config.study import Pretrained as Pretrained
    from nfft.config.study import Study as Study
    from nfft.config.task import Task as Task
    from nfft.errors import UserError as UserError
    from nfft.experiments.soup import soup as soup
    from nfft.models.folding import fold as fold
    from nfft.models.lora import LAYERS as LAYERS
    from nfft.optim.agc import clip_before_each_step as clip_before_each_step
    from nfft.optim.agc import clip_gradients as clip_gradients
    from nfft.optim.ema import Ema as Ema
    from nfft.optim.param_groups import clipped as clipped
    from nfft.optim.param_groups import optimizer_groups as optimizer_groups
    from nfft.optim.sam import perturbed as perturbed
    from nfft.training.run import Interrupted as Interrupted
    from nfft.training.run import Run as Run
    from nfft.training.run import fine_tune as fine_tune

__version__ = "0.2.0"

# Where each public name is. It is imported when it is asked for: a command answers before torch is there.
_PUBLIC = {
    "AutoNFNet": "auto",
    "predict": "auto",
    "evaluate": "auto",
    "fold": "models.folding",
    "fine_tune": "training.run",
    "soup": "experiments.soup",
    "Run": "training.run",
    "Interrupted": "training.run",
    # What files of tasks, recipes, methods and studies are made of.
    "Task": "config.task",
    "Recipe": "config.recipe",
    "Facts": "config.recipe",
    "clipping_for": "config.recipe",
    "Method": "config.method",
    "Study": "config.study",
    "Pretrained": "config.study",
    "UserError": "errors",
    # The paper's pieces, for loops of one's own.
    "clip_before_each_step": "optim.agc",
    "clip_gradients": "optim.agc",
    "Ema": "optim.ema",
    "clipped": "optim.param_groups",
    "optimizer_groups": "optim.param_groups",
    "perturbed": "optim.sam",
    # What peft has to know before it loads an adapter.
    "LAYERS": "models.lora",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nfft' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nfft.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
