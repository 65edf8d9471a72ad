"""From a task to batches: splits, decoding, augmentation, loading."""
