"""`nimble-cli plan`: what a run would take on devices that need not be there."""
