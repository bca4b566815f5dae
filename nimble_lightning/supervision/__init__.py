"""The attempts of a run: started, watched, judged, started again."""
