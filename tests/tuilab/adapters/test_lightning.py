"""PyTorch Lightning, watched by a callback."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuilab
from engine.commands import Command
from engine.states import RunState
from tests.tuilab.adapters.support import Recorded, Viewer, recorded

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
lightning = pytest.importorskip("lightning", reason="Lightning is not installed")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Lightning are not ours

EXAMPLES, BATCH = 64, 8


Module: Any = lightning.LightningModule
Callback: Any = lightning.Callback


class Regression(Module):
    """Calls its parts rather than itself, as examples of Lightning do."""

    def __init__(self, *, fails_at: int = -1) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.decoder = nn.Linear(8, 1)
        self.losses: list[Any] = []
        self._fails_at = fails_at

    def training_step(self, batch: Any, index: int) -> Any:
        x, y = batch
        if index == self._fails_at:
            raise ValueError("a fault of the program")
        loss = nn.functional.mse_loss(self.decoder(torch.relu(self.encoder(x))), y)
        self.losses.append(float(loss.detach()))
        self.log("train_loss", loss)
        self.log("train_error", loss.detach().sqrt())
        self.log("train_mean_error", loss.detach().sqrt(), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.decoder(torch.relu(self.encoder(x))), y))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Adversaries(Module):
    """Two networks and two optimisers, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Linear(4, 4)
        self.critic = nn.Linear(4, 1)

    def training_step(self, batch: Any, _: int) -> None:
        first, second = self.optimizers()
        x = batch[0]
        for optimizer, sign in ((first, -1.0), (second, 1.0)):
            optimizer.zero_grad()
            loss = sign * self.critic(self.generator(x)).mean()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.generator.parameters(), lr=0.01),
            torch.optim.SGD(self.critic.parameters(), lr=0.02),
        ]


def loader() -> Any:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(EXAMPLES, 4, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=BATCH)


def fit(module: Any, tmp_path: Path, *, watched: bool = True, **options: Any) -> Recorded | None:
    callbacks = [tuilab.lightning.Watch(out=str(tmp_path / "run"), every=1)] if watched else []
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=callbacks,
        **({"max_epochs": 2} | options),
    )
    trainer.fit(module, loader(), loader())
    return recorded(tmp_path / "run") if watched else None


def module(seed: int = 0, kind: Any = Regression, **options: Any) -> Any:
    torch.manual_seed(seed)
    return kind(**options)


def test_losses_values_and_validations_are_recorded(tmp_path: Path) -> None:
    trained = module()
    run = fit(trained, tmp_path)
    assert run is not None
    info = run.info
    assert (info.state, info.step, info.total_steps) == (RunState.FINISHED, 16, 16)
    assert (info.steps_per_epoch, info.title) == (8, "Regression")
    np.testing.assert_allclose(run.series["loss"], trained.losses, rtol=1e-6)
    np.testing.assert_allclose(run.series["error"], np.sqrt(trained.losses), rtol=1e-5)
    np.testing.assert_allclose(run.series["learning_rate"], 0.01 * 0.9 ** np.arange(16))
    epochs = run.series["mean_error"]
    assert [*np.flatnonzero(~np.isnan(epochs))] == [7, 15][: np.isfinite(epochs).sum()]
    np.testing.assert_allclose(epochs[7], np.sqrt(trained.losses[:8]).mean(), rtol=1e-5)
    assert [(v.step, [*v.values]) for v in run.validations] == [(8, ["loss"]), (16, ["loss"])]


def test_the_parts_of_a_module_are_layers_of_one_network(tmp_path: Path) -> None:
    run = fit(module(), tmp_path)
    assert run is not None
    assert run.layers == ["encoder.0", "relu", "output"]
    assert [layer.activation for layer in run.info.layers] == ["tanh", "relu", "identity"]
    assert len(run.snapshots) == 16
    for tensor in ("activation", "activation_grad", "weight", "weight_grad", "update"):
        assert (run.snapshots[3].field(tensor, "std")[[0, 2]] > 0).all()


def test_watching_changes_no_weight(tmp_path: Path) -> None:
    plain, watched = module(), module()
    fit(plain, tmp_path, watched=False)
    fit(watched, tmp_path)
    for ours, theirs in zip(watched.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert "training_step" not in watched.__dict__


def test_a_step_of_several_batches_has_their_mean_loss(tmp_path: Path) -> None:
    trained = module()
    run = fit(trained, tmp_path, accumulate_grad_batches=4)
    assert run is not None
    assert (run.info.step, run.info.total_steps, run.info.steps_per_epoch) == (4, 4, 2)
    means = np.reshape(trained.losses, (4, 4)).mean(axis=1)
    np.testing.assert_allclose(run.series["loss"], means, rtol=1e-5)


def test_two_optimisers_that_are_stepped_by_hand_are_one_run(tmp_path: Path) -> None:
    run = fit(module(kind=Adversaries), tmp_path, max_epochs=1, limit_val_batches=0)
    assert run is not None
    assert run.info.step == 8
    assert {layer.location for layer in run.info.layers} == {"generator", "critic"}


def test_mixed_precision(tmp_path: Path) -> None:
    trained = module()
    run = fit(trained, tmp_path, precision="bf16-mixed", gradient_clip_val=0.5)
    assert run is not None
    np.testing.assert_allclose(run.series["loss"], trained.losses, rtol=1e-2)
    assert np.nanmax(run.snapshots[3].field("weight_grad", "norm")) <= 0.5001


def test_the_key_for_stop_ends_fit_as_early_stopping_does(tmp_path: Path) -> None:
    watch = tuilab.lightning.Watch(out=str(tmp_path / "run"))
    stop = Viewer(tmp_path / "run", (lambda: True, Command("stop")))
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=-1, callbacks=[watch],
    )  # fmt: skip
    trainer.fit(module(), loader())
    stop.join()
    assert recorded(tmp_path / "run").info.state is RunState.STOPPED
    assert trainer.should_stop


def test_a_frozen_layer_keeps_its_weights(tmp_path: Path) -> None:
    trained = module()
    before = copy.deepcopy(trained.state_dict())
    watch = tuilab.lightning.Watch(out=str(tmp_path / "run"))

    class Freeze(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            if watch.run is not None and watch.run.step == 1:
                before.update(copy.deepcopy(trained.state_dict()))
                watch.run.controls.apply(Command("freeze", layer=1))

    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=1, callbacks=[watch, Freeze()],
    )  # fmt: skip
    trainer.fit(trained, loader())
    assert torch.equal(trained.encoder[0].weight, before["encoder.0.weight"])
    assert not torch.equal(trained.decoder.weight, before["decoder.weight"])


def test_an_error_of_the_program_is_recorded_and_raised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a fault of the program"):
        fit(module(fails_at=5), tmp_path)
    info = recorded(tmp_path / "run").info
    assert info.state is RunState.FAILED
    assert "a fault of the program" in info.message


def test_training_goes_on_where_nothing_can_be_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("in the way")
    trained = module()
    with pytest.raises(Exception, match=""):  # there is no record to read
        fit(trained, tmp_path)
    assert len(trained.losses) == 16
    assert capsys.readouterr().err.count("tuilab: not watching") == 1


def test_a_callback_can_be_pickled_for_another_process(tmp_path: Path) -> None:
    watch = tuilab.lightning.Watch(out=str(tmp_path / "run"), every=1)
    assert pickle.loads(pickle.dumps(watch)).run is None


def test_only_the_first_rank_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", property(lambda self: False))
    with pytest.raises(Exception, match=""):
        fit(module(), tmp_path)
    assert not (tmp_path / "run").exists()


PROGRAM = """
import sys
from lightning_mlp import Classifier, spirals
from torch.utils.data import DataLoader
import lightning, tuilab

if __name__ == "__main__":
    trainer = lightning.Trainer(
        max_steps=12, accelerator="cpu", devices=2, strategy="ddp", logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[tuilab.lightning.Watch(out="run", every=4)],
    )
    trainer.fit(Classifier(), DataLoader(spirals(1024), batch_size=64))
"""


@pytest.mark.slow
def test_two_ranks_are_measured_together(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-W", "ignore", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'docs' / 'examples'}"},
        check=True,
    )
    run = recorded(tmp_path / "run")
    assert (run.info.state, run.info.step) == (RunState.FINISHED, 12)
    assert {"loss@0", "loss@1"} <= {*run.series}
    assert [snapshot.step for snapshot in run.snapshots] == [0, 4, 8]
    assert (run.snapshots[0].field("activation", "count") == [2 * 64 * 64] * 2 + [2 * 64 * 2]).all()
