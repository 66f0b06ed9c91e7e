"""Reads a search while it runs, for `search show` and the view."""

import warnings
from collections.abc import Mapping
from typing import Final

from tuilab.search.extras import need
from tuilab.search.folder import StudyFolder, scenario_of, search_settings
from tuilab.search.narrowing import edges
from tuilab.search.points import is_allowed
from tuilab.search.results import SearchResult, StageResult

LEAST: Final = 5
"""Complete trials that are needed to estimate the importance of parameters."""


class StudyReader:
    """Reads a search repeatedly; use it from one thread at a time."""

    def __init__(self, folder: StudyFolder) -> None:
        """Open the study of `folder`. Raises SearchError, ScenarioError."""
        need("optuna")
        from tuilab.search.storage import Storage

        self.folder = folder
        self.info = folder.info()
        self.scenario = scenario_of(folder)
        self.search = search_settings(self.scenario).of_trials(self.info.trials)
        self._storage = Storage(folder.storage_url(), self.info.study)
        self._importance: dict[str, tuple[int, Mapping[str, float]]] = {}

    def result(self) -> SearchResult:
        """Return all trials of all stages that have started."""
        stages = [study.result() for study in self._storage.stages(self.search.stages)]
        edges = {stage.stage.name: self._edges(stage) for stage in stages}
        return SearchResult(self.info.scenario, self.search, str(self.folder.path), stages, edges)

    def _edges(self, stage: StageResult) -> list[str]:
        at_edges = edges(
            stage,
            maximize=self.search.maximize,
            allowed=lambda key, value: is_allowed(self.scenario, self.search, key, value),
        )
        return [edge.text for edge in at_edges]

    def importance(self, stage: StageResult) -> Mapping[str, float]:
        """Return the importance of each parameter for the objective; the sum is 1.

        Optuna's PED-ANOVA (Watanabe et al. 2023); empty if there are too few trials.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        name, done = stage.stage.name, stage.count("complete")
        cached = self._importance.get(name)
        if cached is not None and cached[0] == done:
            return cached[1]
        importance: Mapping[str, float] = {}
        studies = {s.stage.name: s.study for s in self._storage.stages(self.search.stages)}
        if done >= LEAST and name in studies:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls it experimental
                try:
                    evaluator = PedAnovaImportanceEvaluator()
                    importance = get_param_importances(studies[name], evaluator=evaluator)
                except (ValueError, RuntimeError):  # such as equal values
                    importance = {}
        self._importance[name] = done, importance
        return importance

    def prune(self, stage: str, number: int) -> bool:
        """Request that a running trial is stopped; return False if it is not running."""
        for study in self._storage.stages(self.search.stages):
            if study.stage.name == stage:
                return study.prune(number)
        return False

    def close(self) -> None:
        """Close the study."""
        self._storage.close()
