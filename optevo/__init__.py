"""optevo: evolve small, fast GAN generators for your own images, with Optuna."""

__version__ = "0.1.0.dev0"
