"""Training the classifier alone, on features that are computed once."""
