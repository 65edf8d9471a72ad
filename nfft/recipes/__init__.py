"""One file a recipe; `nfft.catalog` finds them by name."""
