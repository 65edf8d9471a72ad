"""Many runs: comparisons of methods, and studies."""
