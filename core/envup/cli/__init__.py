"""The command line: one verb a file, thin. `table` names the verbs, `main` picks one and turns errors into messages."""
