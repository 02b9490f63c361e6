"""From a score to a decision: probabilities, sampling, weights, and what they save."""
