"""Watches PyTorch: modules and functions by global hooks on measured steps only, optimisers always.

What belongs here: what knows PyTorch. It is imported only where the program has imported torch.
"""
