"""head-and-gains: the classifier, and everything that is no weight: gains, biases, skip gains, norms.

BitFit (arXiv 2106.10199) for networks without normalisation: their gains are what scales each channel.
"""

from typing import TYPE_CHECKING

from nfft.config.method import Method
from nfft.models.freezing import train_only

if TYPE_CHECKING:
    from torch import nn


class HeadAndGains(Method):
    def prepare(self, network: "nn.Module") -> None:
        from nfft.optim.param_groups import classifier, decayed

        head = list(classifier(network).parameters())
        weights = {id(weight) for weight in decayed(network)}
        train_only(network, [*head, *(each for each in network.parameters() if id(each) not in weights)])


METHOD = HeadAndGains()
