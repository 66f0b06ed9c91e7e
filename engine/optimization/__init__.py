"""What changes the parameters: optimisers, schedules, regularisation, freezing.

All of it reads its strengths from `Hyperparameters` at every step. What computes the gradients
belongs in `engine.network`.
"""
