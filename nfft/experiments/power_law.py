"""How the error falls with the number of images: a power law fitted to what was measured, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import chdtrc, fdtrc

PARAMETERS = 3
# Within these, exponents of learning curves lie; a curve that asks for more of either has a corner, or is flat.
LOGARITHMS = np.linspace(math.log(0.01), math.log(4), 120)
DRAWS, SEED = 1000, 0
# How often chance alone may call a law poor that is not.
CHANCE = 0.05


@dataclass(frozen=True)
class PowerLaw:
    """error = floor + scale · images^-exponent, none of the three below 0."""

    floor: float
    scale: float
    exponent: float

    def error(self, images: float) -> float:
        """The share of wrong answers that it has for so many images."""
        return self.floor + self.scale * images**-self.exponent

    def images_for(self, error: float) -> float:
        """From how many images on the error is as small; infinite where it never is."""
        below = np.array([[self.floor], [self.scale], [self.exponent]])
        return float(_images_for(error, *below)[0])


def fit(images: Sequence[float], errors: Sequence[float], deviations: Sequence[float]) -> PowerLaw:
    """The power law that is nearest to measured errors, by weighted least squares.

    For one exponent, floor and scale follow in one go; the exponent is searched for.

    Args:
        images: at least three different numbers.
        errors: at each of these.
        deviations: how far each error may be off, above 0.
    """
    x, y, weights = _arrays(images, errors, deviations)

    def loss(logarithm: float) -> float:
        return float(_fits(x, y[None], weights, np.array([logarithm]))[2][0, 0])

    best = int(_fits(x, y[None], weights, LOGARITHMS)[2][0].argmin())
    near = LOGARITHMS[max(best - 1, 0)], LOGARITHMS[min(best + 1, len(LOGARITHMS) - 1)]
    found = minimize_scalar(loss, bounds=near, method="bounded", options={"xatol": 1e-10})
    floor, scale, _ = _fits(x, y[None], weights, np.array([found.x]))
    return PowerLaw(float(floor[0, 0]), float(scale[0, 0]), math.exp(found.x))


def images_in_draws(
    images: Sequence[float], errors: np.ndarray, deviations: Sequence[float], error: float
) -> np.ndarray:
    """From how many images on the error is as small, by the law of each draw; infinite where it never is.

    Args:
        errors: (draws, numbers of images), as `draw_means` makes them.

    Returns:
        An array (draws,).
    """
    x, y, weights = _arrays(images, errors, deviations)
    floor, scale, loss = _fits(x, y, weights, LOGARITHMS)
    best = (np.arange(len(y)), loss.argmin(axis=1))
    return _images_for(error, floor[best], scale[best], np.exp(LOGARITHMS[best[1]]))


def draw_means(by_seed: Sequence[Mapping[int, float]]) -> np.ndarray | None:
    """Means that other seeds might have had: a parametric bootstrap over seeds, the same draws each time.

    What is drawn at each place has Student's t distribution around the mean there, so its 95 % are the 95 % interval
    of that mean, however few the seeds. That a seed which is above the mean at one place is so at others is drawn as
    far as there are seeds to tell by: two tell nothing, with five it counts for three quarters.

    Args:
        by_seed: at each place, a value by seed.

    Returns:
        An array (DRAWS, places); None where a place has one seed alone, or none of them any spread.
    """
    counts = [len(values) for values in by_seed]
    if min(counts) < 2:
        return None
    seeds = sorted({seed for values in by_seed for seed in values})
    means = np.array([math.fsum(values.values()) / len(values) for values in by_seed])
    apart = np.zeros((len(seeds), len(by_seed)))
    for place, values in enumerate(by_seed):
        for row, seed in enumerate(seeds):
            if seed in values:
                apart[row, place] = (values[seed] - means[place]) / math.sqrt(counts[place] * (counts[place] - 1))
    if np.abs(apart).max() < 1e-12:
        return None
    rng, freedom = np.random.default_rng(SEED), min(counts) - 1
    together = rng.standard_normal((DRAWS, len(seeds))) @ apart
    alone = rng.standard_normal((DRAWS, len(by_seed))) * np.sqrt((apart**2).sum(axis=0))
    widths = np.sqrt(freedom / rng.chisquare(freedom, (DRAWS, 1)))
    return means + widths * (math.sqrt(1 - 1 / freedom) * together + math.sqrt(1 / freedom) * alone)


def fits_poorly(law: PowerLaw, images: Sequence[float], errors: Sequence[float], deviations: Sequence[float],
                seeds: Sequence[int]) -> bool:  # fmt: skip
    """Whether a law is farther from what was measured than chance makes; three numbers alone cannot tell.

    Args:
        seeds: how many each error is the mean of.
    """
    # A floor of 0 was not chosen.
    freedom = len(images) - PARAMETERS + (law.floor == 0)
    if freedom < 1:
        return False
    pairs = zip(images, errors, deviations, strict=True)
    squares = sum(((error - law.error(count)) / deviation) ** 2 for count, error, deviation in pairs)
    of_seeds = sum(count - 1 for count in seeds)
    p = fdtrc(freedom, of_seeds, squares / freedom) if of_seeds else chdtrc(freedom, squares)
    return bool(p < CHANCE)


def _arrays(
    images: Sequence[float], errors: Sequence[float] | np.ndarray, deviations: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = np.clip(np.asarray(errors, np.float64), 0, 1)
    return np.asarray(images, np.float64), y, np.asarray(deviations, np.float64) ** -2


def _fits(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, logarithms: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Floor, scale and weighted sum of squares of the best law with each exponent, each (draws, exponents).

    Args:
        x, weights: (numbers of images,).
        y: (draws, numbers of images).
        logarithms: of the exponents.
    """
    weights = weights / weights.sum()
    powers = x ** -np.exp(logarithms)[:, None]
    mean_x, mean_y = powers @ weights, (y @ weights)[:, None]
    centered = powers - mean_x[:, None]
    scale = (y * weights) @ centered.T / (centered**2 @ weights)
    # As the errors are not below 0, one of both at most is.
    floor = mean_y - scale * mean_x
    scale = np.where(floor < 0, (y * weights) @ powers.T / (powers**2 @ weights), np.maximum(scale, 0))
    floor = np.where(floor < 0, 0.0, mean_y - scale * mean_x)
    residuals = y[:, None] - floor[..., None] - scale[..., None] * powers
    return floor, scale, residuals**2 @ weights


def _images_for(error: float, floor: np.ndarray, scale: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    left = error - floor
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        images = (scale / left) ** (1 / exponent)
    return np.where(left > 0, images, np.inf)
