"""head-and-gains: the classifier, and everything that is no weight: gains, biases, skip gains, norms.

BitFit (arXiv 2106.10199) for networks without normalization: their gains are what scales each channel.
"""

from torch import nn

from nfft.methods.full import Full
from nfft.models.freezing import train_only
from nfft.optim.param_groups import classifier, decayed


class HeadAndGains(Full):
    def prepare(self, network: nn.Module) -> None:
        head = list(classifier(network).parameters())
        weights = {id(weight) for weight in decayed(network)}
        rest = (parameter for parameter in network.parameters() if id(parameter) not in weights)
        train_only(network, [*head, *rest])


METHOD = HeadAndGains()
