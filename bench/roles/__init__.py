"""What measured processes do. Apart from the suites, so that a child imports its peer and little else."""
