"""Recording inside of transformers: `kvtape.record`. Needs torch and transformers."""
