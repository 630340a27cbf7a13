"""The rules of the proof, one module each: pure functions from a promise and what was observed to ``Check`` records."""
