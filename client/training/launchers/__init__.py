"""Where a site's training runs: in a process, in Slurm, in Kubernetes, one launcher in each file."""
