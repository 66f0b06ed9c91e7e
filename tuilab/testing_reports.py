"""The results of `tuilab test`: a table for people, JSON and JUnit XML for machines."""

import json
import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from tuilab.report import verdict_table
from tuilab.testing import Result

UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # characters that XML forbids


def results_table(results: Sequence[Result], *, colour: bool) -> str:
    """Return claim, measured, band and verdict of every expectation, and a line that counts."""
    table = verdict_table(
        {result.name: result.verdicts for result in results if result.verdicts}, colour=colour
    )
    claims = [verdict for result in results for verdict in result.verdicts]
    held = sum(verdict.passed is True for verdict in claims)
    errors = [f"{result.name}: {result.problem}" for result in results if result.problem]
    skipped = sum(bool(result.skipped) for result in results)
    tail = f"{held} of {len(claims)} claims hold in {len(results) - skipped} scenarios"
    tail += f", {skipped} skipped" if skipped else ""
    return "\n".join([table, "", *errors, tail])


def results_json(results: Sequence[Result]) -> str:
    """Return one JSON document: a list with an object a scenario."""
    return json.dumps(
        [
            {
                "scenario": result.name,
                "passed": result.passed,
                "seconds": result.seconds,
                "skipped": result.skipped,
                "error": result.problem,
                "run": json.loads(result.summary.to_json()) if result.summary else None,
            }
            for result in results
        ]
    )


def junit(results: Sequence[Result]) -> str:
    """Return the results as JUnit XML: a suite a scenario, a case an expectation."""
    root = ElementTree.Element("testsuites")
    for result in results:
        failed = sum(verdict.passed is False for verdict in result.verdicts)
        broken = result.problem if not failed else ""
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=result.name,
            tests=str(len(result.verdicts) + bool(broken or not result.verdicts)),
            failures=str(failed),
            errors=str(int(bool(broken))),
            skipped=str(int(bool(result.skipped))),
            time=f"{result.seconds:.3f}",
        )
        for verdict in result.verdicts:
            case = _case(suite, result, f"{verdict.claim} [{verdict.metric} at {verdict.at}]")
            if verdict.passed is False:
                message = f"measured {verdict.measured_text}, expected {verdict.band}"
                ElementTree.SubElement(case, "failure", message=message)
        if broken or not result.verdicts:
            case = _case(suite, result, "run")
            if result.skipped:
                ElementTree.SubElement(case, "skipped", message=result.skipped)
            elif broken:
                ElementTree.SubElement(case, "error", message=broken)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
    return UNPRINTABLE.sub("�", text)


def _case(suite: ElementTree.Element, result: Result, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=result.name, name=name)
