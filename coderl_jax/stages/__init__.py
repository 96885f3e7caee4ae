"""Settings of the commands: one frozen dataclass a stage; `coderl_jax.cli` makes its flags.

Groups from `coderl_jax.config` are fields; their flags carry no prefix.
"""
