"""One file a task; `nfft.catalog` finds them by name."""
