"""One file a method; `nfft.catalog` finds them by name."""
