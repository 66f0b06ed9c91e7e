"""A search as it stands: what `search show` prints and the view follows."""

import warnings
from collections.abc import Mapping
from typing import Final

from tuilab.search.begin import scenario_of, searched
from tuilab.search.extras import need
from tuilab.search.folder import StudyFolder
from tuilab.search.narrowing import edges
from tuilab.search.points import is_allowed
from tuilab.search.results import SearchResult, StageResult

LEAST: Final = 5
"""Complete trials from which something can be said of the importance of a parameter."""


class StudyReader:
    """Reads a search again and again; may be used from one thread at a time."""

    def __init__(self, folder: StudyFolder) -> None:
        """Open the study of `folder`. Raises SearchError, ScenarioError."""
        need("optuna")
        from tuilab.search.storage import Storage

        self.folder = folder
        self.info = folder.info()
        self.scenario = scenario_of(folder)
        self.search = searched(self.scenario).of_trials(self.info.trials)
        self._storage = Storage(folder.storage_url(), self.info.study)
        self._importance: dict[str, tuple[int, Mapping[str, float]]] = {}

    def result(self) -> SearchResult:
        """Return all trials of all stages that have been begun."""
        stages = [study.result() for study in self._storage.stages(self.search.stages)]
        told = {stage.stage.name: self._edges(stage) for stage in stages}
        return SearchResult(self.info.scenario, self.search, str(self.folder.path), stages, told)

    def _edges(self, stage: StageResult) -> list[str]:
        found = edges(
            stage,
            maximize=self.search.maximize,
            allowed=lambda key, value: is_allowed(self.scenario, self.search, key, value),
        )
        return [edge.text for edge in found]

    def importance(self, stage: StageResult) -> Mapping[str, float]:
        """Return by how much each parameter decides the objective, as shares of 1.

        Optuna's PED-ANOVA (Watanabe et al. 2023), or nothing where trials are too few.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        name, done = stage.stage.name, stage.count("complete")
        known = self._importance.get(name)
        if known is not None and known[0] == done:
            return known[1]
        found: Mapping[str, float] = {}
        studies = {s.stage.name: s.study for s in self._storage.stages(self.search.stages)}
        if done >= LEAST and name in studies:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls it experimental
                try:
                    evaluator = PedAnovaImportanceEvaluator()
                    found = get_param_importances(studies[name], evaluator=evaluator)
                except (ValueError, RuntimeError):  # such as all values alike
                    found = {}
        self._importance[name] = done, found
        return found

    def prune(self, stage: str, number: int) -> bool:
        """Ask for a running trial to be given up; False where it does not run."""
        for study in self._storage.stages(self.search.stages):
            if study.stage.name == stage:
                return study.prune(number)
        return False

    def close(self) -> None:
        """Close the study."""
        self._storage.close()
