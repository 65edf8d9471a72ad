"""What decays and what is clipped follows from what a parameter is."""

import pytest
import timm
import torch
from torch import nn

from nfft.optim.param_groups import classifier, clipped, decayed, optimizer_groups

NETWORKS = ["test_nfnet", "nf_regnet_b0", "nf_resnet26", "eca_nfnet_l0", "dm_nfnet_f0", "test_resnet", "resnet18"]


def make(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=7, **arguments)


def names_of(network: nn.Module, parameters: list) -> list[str]:
    by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    return [by_id[id(parameter)] for parameter in parameters]


@pytest.mark.parametrize("name", NETWORKS)
def test_only_weights_decay(name: str) -> None:
    network = make(name)
    for parameter_name in names_of(network, decayed(network)):
        assert parameter_name.endswith(".weight")
        module = network.get_submodule(parameter_name.removesuffix(".weight"))
        assert not isinstance(module, nn.modules.batchnorm._NormBase)
    left = set(dict(network.named_parameters())) - set(names_of(network, decayed(network)))
    for parameter_name in left:
        owner, _, kind = parameter_name.rpartition(".")
        is_norm = isinstance(network.get_submodule(owner), nn.modules.batchnorm._NormBase)
        assert kind in ("gain", "bias", "skipinit_gain") or is_norm, parameter_name


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("frozen", [False, True])
def test_groups_partition_what_is_trained(name: str, frozen: bool) -> None:
    network = make(name)
    if frozen:
        for part in list(network.children())[:1]:
            part.requires_grad_(False)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    groups = optimizer_groups(network, 1e-4)
    both = [name for group in groups for name in names_of(network, group["params"])]
    assert sorted(both) == sorted(trained)
    assert [group["weight_decay"] for group in groups] == [1e-4, 0.0]
    assert all(group["params"] for group in groups)


def test_skip_gain_does_not_decay_and_is_clipped() -> None:
    network = make("test_nfnet", skipinit=True)
    skip_gains = {name for name, _ in network.named_parameters() if "skipinit_gain" in name}
    assert skip_gains
    assert not skip_gains & set(names_of(network, decayed(network)))
    assert skip_gains <= set(names_of(network, clipped(network)))


@pytest.mark.parametrize("name", NETWORKS)
def test_all_but_the_classifier_weight_is_clipped(name: str) -> None:
    network = make(name)
    exempt = set(dict(network.named_parameters())) - set(names_of(network, clipped(network)))
    assert exempt == {f"{network.pretrained_cfg['classifier']}.weight"}


class ClassifierFirst(nn.Module):
    """A network whose classifier was made before the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.body = nn.Linear(3, 4)

    def get_classifier(self) -> nn.Module:
        return self.head


def test_classifier_is_found_by_role() -> None:
    network = ClassifierFirst()
    assert classifier(network) is network.head
    assert names_of(network, clipped(network)) == ["head.bias", "body.weight", "body.bias"]
    assert names_of(network, decayed(network)) == ["head.weight", "body.weight"]


def test_frozen_parameters_are_left_out() -> None:
    network = ClassifierFirst()
    network.body.requires_grad_(False)
    assert names_of(network, clipped(network)) == ["head.bias"]
    assert names_of(network, decayed(network)) == ["head.weight"]
