"""One file a recipe; `nfft.config.registry` finds them by name."""
