"""Pure cores: plain functions and small classes that know no trainer, no Lightning, nothing else of ours."""
