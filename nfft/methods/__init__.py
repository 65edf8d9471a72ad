"""One file a method; `nfft.config.registry` finds them by name."""
