"""What every store backend must hold: one suite per contract. Subclass it, give it a `store` fixture, and it is your test."""
