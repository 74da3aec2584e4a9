"""What the chosen model is worth: calibration, scope rule, figures, slices, label errors, and the gate.

From above: `evaluate.evaluate`, `gate.gate`, `checks.behaviour.read_cases`.
"""
