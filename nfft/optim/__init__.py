"""The paper's optimizer, piece by piece; imports nothing else of nfft."""
