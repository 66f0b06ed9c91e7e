"""A generative adversarial network, watched: two models and two optimisers are one run.

    python docs/examples/gan.py [steps]

The generator learns to draw points on a circle; a step ends when both optimisers have stepped.
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn

import tuilab

BATCH, NOISE = 64, 8


class Generator(nn.Module):
    """Noise to points."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(NOISE, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2), nn.Tanh()
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.net(noise)


class Critic(nn.Module):
    """Points to how real they look."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.net(points)


def circle(examples: int) -> torch.Tensor:
    angle = 2 * torch.pi * torch.rand(examples)
    return 0.8 * torch.stack([angle.cos(), angle.sin()], dim=1)


def main(steps: int = 3000) -> None:
    torch.manual_seed(0)
    generator, critic = Generator(), Critic()
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    run = tuilab.watch([generator, critic], [of_generator, of_critic], title="Points on a circle")
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    for _ in range(steps):
        fake = generator(torch.randn(BATCH, NOISE))
        real_scores, fake_scores = critic(circle(BATCH)), critic(fake.detach())
        critic_loss = F.binary_cross_entropy_with_logits(
            real_scores, ones
        ) + F.binary_cross_entropy_with_logits(fake_scores, zeros)
        of_critic.zero_grad()
        critic_loss.backward()
        of_critic.step()

        generator_loss = F.binary_cross_entropy_with_logits(critic(fake), ones)
        of_generator.zero_grad()
        generator_loss.backward()
        run.log(loss=critic_loss, generator_loss=generator_loss)
        of_generator.step()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
