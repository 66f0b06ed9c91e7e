"""A small GPT-2, trained by Hugging Face's Trainer on its own source text, watched: one callback.

    python docs/examples/transformers_gpt2.py [steps]

The model is drawn at random and reads bytes: nothing is downloaded.
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import tuilab


class Text(Dataset[dict[str, torch.Tensor]]):
    """Pieces of a text, byte by byte."""

    def __init__(self, text: bytes, length: int) -> None:
        self._bytes = torch.tensor(list(text))
        self._length = length

    def __len__(self) -> int:
        return len(self._bytes) - self._length

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        piece = self._bytes[at : at + self._length]
        return {"input_ids": piece, "labels": piece}


def main(steps: int = 500) -> None:
    text = Path(torch.nn.functional.__file__).read_bytes()[:200_000]
    config = GPT2Config(vocab_size=256, n_positions=64, n_embd=64, n_layer=4, n_head=4)
    watch = tuilab.transformers.Watch(title="Bytes of Python, by GPT-2", classes=256)
    trainer = Trainer(
        GPT2LMHeadModel(config),
        TrainingArguments(
            output_dir="gpt2",
            max_steps=steps,
            per_device_train_batch_size=16,
            learning_rate=1e-3,
            warmup_steps=steps // 10,
            lr_scheduler_type="cosine",
            eval_strategy="steps",
            eval_steps=100,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Text(text[:-1000], length=64),
        eval_dataset=Text(text[-300:], length=64),
        callbacks=[watch],
    )
    trainer.train()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
