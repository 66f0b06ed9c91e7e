"""What the source of a run can do: the view offers nothing else. Knows no Textual."""

from tuilab.record import RunInfo


def offers(info: RunInfo, action: str) -> bool:
    """Return whether the run can do `action`: the kind of a command, "restart", "fork" …"""
    return True
