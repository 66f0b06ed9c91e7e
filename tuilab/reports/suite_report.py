"""The results of `tuilab test` as a table, JSON and JUnit XML."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree

from tuilab.charts.symbols import VERDICTS
from tuilab.claims.summary import to_json, verdict_document
from tuilab.process.testing import Claim, ScenarioResult, SeedRun
from tuilab.reports.run_report import verdict_table

UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # not allowed in XML


def progress_line(result: ScenarioResult) -> str:
    """Return the line for a scenario that was tested or skipped."""
    if result.skipped:
        return f"· {result.name}  skipped: {result.skipped}"
    words = result.problem or "as claimed"
    return f"{VERDICTS[result.passed].glyph} {result.name}  {result.seconds:.1f} s  {words}"


def results_table(results: Sequence[ScenarioResult], seconds: float, *, colour: bool) -> str:
    """Return a table of all claims, errors, skipped scenarios, and a line with totals.

    `seconds` is the total duration.
    """
    claims = [claim for result in results for claim in result.claims]
    seeds = max((claim.seeds for claim in claims), default=1)
    table = verdict_table(
        [(claim.run, claim.verdict) for claim in claims],
        [f"{claim.passes}/{claim.seeds}" for claim in claims] if seeds > 1 else (),
        colour=colour,
    )
    holding = sum(claim.verdict.passed is True for claim in claims)
    errors = [f"{result.name}: {result.problem}" for result in results if result.problem]
    skipped = [result for result in results if result.skipped]
    ran = len(results) - len(skipped)
    tail = f"{holding} of {len(claims)} claims hold in {ran} scenario{'s' * (ran != 1)}"
    tail += f" with {seeds} seeds" if seeds > 1 else ""
    tail += f", {len(skipped)} skipped" if skipped else ""
    skips = [f"{result.name}: skipped: {result.skipped}" for result in skipped]
    return "\n".join([table, "", *errors, *skips, f"{tail}, in {seconds:.1f} s"])


def results_json(results: Sequence[ScenarioResult]) -> str:
    """Return one JSON document: a list with an object per scenario."""
    return json.dumps([_document(result) for result in results])


def _document(result: ScenarioResult) -> dict[str, Any]:
    document = {
        "scenario": result.name,
        "passed": result.passed,
        "seconds": result.seconds,
        "skipped": result.skipped,
        "error": result.problem,
    }
    if len(result.trials) < 2:
        return document | {"run": _run(result.trials[0]) if result.trials else None}
    claims = [
        {"run": claim.run, "passes": claim.passes, "seeds": claim.seeds} | _plain(claim)
        for claim in result.claims
    ]
    runs = [{"seed": trial.seed, "run": _run(trial)} for trial in result.trials]
    return document | {"runs": runs, "expectations": claims}


def _run(trial: SeedRun) -> Any:
    return json.loads(trial.outcome.document.to_json()) if trial.outcome else None


def _plain(claim: Claim) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(to_json(verdict_document(claim.verdict)))
    return document


def junit(results: Sequence[ScenarioResult]) -> str:
    """Return the results as JUnit XML: a suite per scenario, a case per expectation."""
    root = ElementTree.Element("testsuites")
    for result in results:
        claims = result.claims
        failed = sum(claim.verdict.passed is False for claim in claims)
        broken = result.problem if not failed else ""
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=result.name,
            tests=str(len(claims) + bool(broken or not claims)),
            failures=str(failed),
            errors=str(int(bool(broken))),
            skipped=str(int(bool(result.skipped))),
            time=f"{result.seconds:.3f}",
        )
        for claim in claims:
            _add_claim(suite, claim)
        if broken or not claims:
            case = _case(suite, result.name, "run")
            if result.skipped:
                ElementTree.SubElement(case, "skipped", message=result.skipped)
            elif broken:
                ElementTree.SubElement(case, "error", message=broken)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
    return UNPRINTABLE.sub("�", text)


def _add_claim(suite: ElementTree.Element, claim: Claim) -> None:
    verdict = claim.verdict
    case = _case(suite, claim.run, f"{verdict.claim} [{verdict.metric} at {verdict.at}]")
    if verdict.passed is False:
        message = f"measured {verdict.measured_text}, expected {verdict.band}"
        if claim.seeds > 1:
            message += f"; held with {claim.passes}/{claim.seeds} seeds"
        ElementTree.SubElement(case, "failure", message=message)


def _case(suite: ElementTree.Element, run: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=run, name=name)
