"""Fine-tuning of one variant with mlx-lm's trainer.

- ``variant.py`` - the settings of one variant, checked
- ``variants.py`` - variants by name, file, command line
- ``finetune.py`` - one training from beginning to end
- ``loop.py`` - what happens between mlx-lm's steps
- ``mlx_lm_trainer.py`` - mlx-lm's trainer called as library
- ``trainable.py`` - adapter layers, optimizer, saved adapter
- ``batches.py`` - seeded batches in length order
- ``loss_function.py`` - loss of training and validation
- ``curve.py`` - rows of the training curve
- ``resume_state.py`` - checkpoints and resume states
- ``estimate.py`` - time and memory before training
- ``past_runs.py`` - what corrects an estimate
- ``plan.py`` - what fits, before any download
- ``fuse.py`` - adapter merged into its base
"""
