"""What is measured: one file a suite, or a part of one. `bench.catalogue` has them in order."""
