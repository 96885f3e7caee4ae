"""Entry points that train: `python -m train.finetune`, `train.critic`, `train.rl`, `train.repair`."""
