"""Choose estimators and numbers of particles: by a cost model, by measuring, or while training.

Three choosers: `auto_particles` (`particles="auto"`: expected variance times the cost model's time), `tune`
(`ppl.tune`: measured), and `tuner` (`ppl.fit(tune=True)`)."""
