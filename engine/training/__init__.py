"""The loop: training steps, commands between them, checkpoints."""
