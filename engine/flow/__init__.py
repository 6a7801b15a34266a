"""Models that follow a velocity from noise to sound.

model, open        the model's face to the engine, and which runtime serves it
solve              one separation: windows, candidates, the solver's loop, decode
schedule           how evaluations are spent: uniform, sway, epss, fitted
sampling, fitted   noise, grids and solvers; coefficients fitted to one model
multidiffusion     long audio as overlapping windows of one latent
scoring, clap      which candidate is best
"""
