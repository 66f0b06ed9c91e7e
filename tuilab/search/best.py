"""The best trial as a scenario file of its own, which `tuilab run` trains to the same number."""

from tuilab.scenario.scenario import Scenario
from tuilab.search.points import scenario_at
from tuilab.search.results import RankedTrial, SearchResult, objective_heading


def scenario_text(base: Scenario, result: SearchResult, found: RankedTrial) -> str:
    """Return the scenario of a trial as TOML, with where it comes from in a comment."""
    scenario = scenario_at(base, found.row.point, found.stage.stage.train)
    value = found.row.value
    return (
        f"# Trial {found.row.number} of the stage {found.stage.stage.name} of the search in "
        f"{result.folder}:\n"
        f"# {objective_heading(result.search)} {value!r}, with one BLAS thread "
        "(tuilab run FILE --threads 1 gives just that).\n"
        f"{scenario.to_toml()}"
    )
