"""What is in a text: personal data, toxicity, injection, language. Floor 3. Empty until its issue; nothing imports it."""
