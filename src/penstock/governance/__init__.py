"""People and rules: access, approvals, cards, subjects. Floor 4. Empty until its issue; keys and audit rows live in store."""
