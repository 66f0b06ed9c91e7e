"""Hugging Face's Trainer, watched by a callback."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuilab
from engine.commands import Command
from engine.states import RunState
from tests.tuilab.adapters.support import Viewer, recorded

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="Transformers is not installed")
pytest.importorskip("accelerate", reason="Accelerate is not installed, which its Trainer needs")

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Transformers are not ours

EXAMPLES, LENGTH = 32, 8


def model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def examples() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(32, (EXAMPLES, LENGTH), generator=generator)
    return [{"input_ids": row, "labels": row} for row in tokens]


def trainer(trained: Any, tmp_path: Path, callbacks: list[Any], **options: Any) -> Any:
    return transformers.Trainer(
        trained,
        transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            **options,
        ),
        train_dataset=examples(),
        eval_dataset=examples()[:4],
        callbacks=callbacks,
    )


def test_losses_values_and_evaluations_are_recorded(tmp_path: Path) -> None:
    watch = tuilab.transformers.Watch(out=str(tmp_path / "run"), every=1)
    options = {"logging_steps": 1, "eval_strategy": "steps", "eval_steps": 4}
    training = trainer(model(), tmp_path, [watch], num_train_epochs=1, **options)
    training.train()
    run = recorded(tmp_path / "run")
    logged = [row for row in training.state.log_history if "loss" in row]
    assert (run.info.state, run.info.step, run.info.total_steps) == (RunState.FINISHED, 8, 8)
    assert (run.info.steps_per_epoch, run.info.title) == (8, "GPT2LMHeadModel")
    np.testing.assert_allclose(run.series["loss"], [row["loss"] for row in logged], rtol=1e-3)
    np.testing.assert_allclose(run.series["grad_norm"], [row["grad_norm"] for row in logged])
    evaluations = [row["eval_loss"] for row in training.state.log_history if "eval_loss" in row]
    assert [(v.step, v.values) for v in run.validations] == [
        (4, {"loss": evaluations[0]}),
        (8, {"loss": evaluations[1]}),
    ]
    assert run.layers[0] == "transformer.wte"
    assert [layer.kind for layer in run.info.layers].count("Conv1D") == 8
    assert run.info.layers[-1].role == "output"
    assert len(run.snapshots) == 8


def test_watching_changes_no_weight_and_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    plain, watched = model(), model()
    watch = tuilab.transformers.Watch(out=str(tmp_path / "run"), every=1)
    options = {"num_train_epochs": 1, "gradient_accumulation_steps": 2, "logging_steps": 1}
    for trained, callbacks in ((plain, []), (watched, [watch])):
        training = trainer(trained, tmp_path, callbacks, **options)
        training.train()
    for ours, theirs in zip(watched.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    run = recorded(tmp_path / "run")
    logged = [row["loss"] for row in training.state.log_history if "loss" in row]
    assert run.info.step == 4
    np.testing.assert_allclose(run.series["loss"], logged, rtol=1e-3)


def test_the_key_for_stop_ends_the_training_after_the_step(tmp_path: Path) -> None:
    watch = tuilab.transformers.Watch(out=str(tmp_path / "run"))
    stop = Viewer(tmp_path / "run", (lambda: True, Command("stop")))
    training = trainer(model(), tmp_path, [watch], max_steps=10**6)
    training.train()
    stop.join()
    assert recorded(tmp_path / "run").info.state is RunState.STOPPED
    assert training.state.global_step < 10**6
