"""The rules of the diagnosis, one file each; found by being here."""
