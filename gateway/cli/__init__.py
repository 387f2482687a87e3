"""The command line. Each command's module imports what it needs when it runs, so that `maskgate --help` is quick."""
