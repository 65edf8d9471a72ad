"""One file a study, a question that many runs answer together; `nfft.config.registry` finds them by name."""
