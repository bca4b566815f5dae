"""The commands of `nimble-cli`, one file or folder each."""
