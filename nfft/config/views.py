"""Which views of a picture a network is shown when it is scored, or asked: their names, and how many each has."""

from typing import Any, Literal, cast

from nfft.config.fields import shown
from nfft.errors import UserError, nearest

# One view as the network is evaluated; it and its mirror; five crops; those and their mirrors.
VIEWS = {"single": 1, "flip": 2, "crops": 5, "crops-flip": 10}
SINGLE = "single"
SeveralViews = Literal["flip", "crops", "crops-flip"]


def check_views(views: Any) -> None:
    """See that there are such views.

    Raises:
        UserError: with the nearest name.
    """
    # Not by hash, which lists have none of.
    if views not in list(VIEWS):
        raise UserError(f"unknown views {shown(views)}; {nearest(str(views), VIEWS)}")


def several(views: str) -> SeveralViews | None:
    """The views as records have them, which say nothing of the usual one."""
    return None if views == SINGLE else cast(SeveralViews, views)


def named_views(views: SeveralViews | None) -> str:
    """Several views in words, to stand after other words."""
    return "" if views is None else f", mean of {VIEWS[views]} views ({views})"
