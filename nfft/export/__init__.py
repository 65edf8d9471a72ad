"""Networks as files that run without nfft."""
