"""full: every weight is trained, as the paper does."""

from nfft.config.method import Method

METHOD = Method()
