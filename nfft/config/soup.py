"""Which soups of weights there are."""

from typing import Literal, get_args

SoupKind = Literal["uniform", "greedy", "stock"]
SOUP_KINDS: tuple[SoupKind, ...] = get_args(SoupKind)
