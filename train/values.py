"""The value model of PPO and its kin: what a program's reward is expected to be, token by token, learnt beside the actor."""

import functools
from typing import Any

from coderl_jax.stages.train import RLConfig


class Values:
    """A critic's body and head, begun from the actor, whose first output is a token's value; with an optimizer of its own."""

    def __init__(self, config: RLConfig, actor: Any, optimizer: Any, key: Any):
        """Begin from the actor.

        Args:
          config: the run's.
          actor: a `rollout.models.TextModel`.
          optimizer: of the run.
          key: seeds the head.
        """
        from coderl_jax.learner import state, steps
        from coderl_jax.model.critic import critic_from_actor
        from coderl_jax.model.mesh import on_current_mesh
        from coderl_jax.model.t5 import keeping

        graphdef, params = critic_from_actor(actor.shape, actor.params, key, config.mesh.compute)
        graphdef = keeping(graphdef, params, *actor.kept)
        self.config = config
        self.state = state.init_state(on_current_mesh(params), optimizer)
        self.beta = config.terms.reward_kl
        self._update = state.make_update(steps.value_loss(graphdef, config.terms.clip), optimizer, config.optimizer.accumulate)
        self.estimates = functools.partial(steps.value_estimates, graphdef)
        self._key = key

    def with_advantages(self, rollout: Any, value: Any) -> Any:
        """The rollout with advantages of tokens, and targets for the values.

        Args:
          rollout: with `behaviour` and `reference`.
          value: of every token, float32 [b, t].
        """
        import dataclasses

        import jax.numpy as jnp
        import numpy as np

        from coderl_jax.objectives import ppo

        parts = (rollout.advantage, rollout.behaviour, rollout.reference, rollout.target_mask, value)
        reward, behaviour, reference, mask, values = map(jnp.asarray, parts)
        found = ppo.gae(ppo.token_rewards(reward, behaviour, reference, mask, self.beta), values, mask)
        token_advantage = np.asarray(ppo.whitened(found, mask))
        return dataclasses.replace(rollout, token_advantage=token_advantage, value=value, value_target=np.asarray(found) + value)

    def update(self, rollout: Any) -> dict[str, Any]:
        """One step of the value model on a batch; its loss."""
        from coderl_jax.data.batches import of_length
        from coderl_jax.learner.steps import TextBatch, ValueBatch
        from coderl_jax.model.mesh import spread

        text = TextBatch.of(rollout, self.config.lengths)
        width = text.target.shape[1]
        batch = spread(ValueBatch(text, of_length(rollout.value, width), of_length(rollout.value_target, width)))
        self.state, logged = self._update(self.state, batch, self._key)
        return {"value_loss": logged["loss"]}

    def adapt(self, kl: float) -> None:
        """Move the penalty's weight by the KL that the round had."""
        from coderl_jax.objectives import ppo

        if self.config.terms.kl_target:
            self.beta = ppo.adapted(self.beta, kl, self.config.terms.kl_target)
