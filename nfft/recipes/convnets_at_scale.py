"""convnets-at-scale: how NFNets that were pre-trained on four billion images are fine-tuned.

Reaches, from JFT-4B to ImageNet: F7+ 90.3 % top-1, 90.4 % with each image augmented four times a batch.

Source: arXiv 2310.16764, section 3: 50 epochs with SAM, stochastic depth and dropout; 384 px to train, 480 to test.
Differs: that paper does not print its rates; batch, learning rate, SAM's radius, weight decay, dropout, stochastic
depth and average are those of the fine-tuning it follows (arXiv 2102.06171, section 5; see paper-nfnet). Images are
not augmented repeatedly.
"""

from dataclasses import replace

from nfft import Facts, Recipe
from nfft.recipes import paper_nfnet


def recipe(facts: Facts) -> Recipe:
    return replace(paper_nfnet.recipe(facts), total_steps=None, epochs=50, train_resolution=384, test_resolution=480)
