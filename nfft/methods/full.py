"""full: every weight is trained, as the paper does."""

from nfft.method import Method

METHOD = Method()
