"""Training processes: worker, launch, headless, checkpoints, resume, fork, verify."""
