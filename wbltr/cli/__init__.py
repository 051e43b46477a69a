"""The command line: verbs, options and the only file that prints."""
