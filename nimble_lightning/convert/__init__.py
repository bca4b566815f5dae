"""`nimble-cli convert`: settings of other programs as a command line of ours."""
