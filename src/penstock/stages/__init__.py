"""How each step does its work. Stages never import each other; they meet in artifacts. Floor 4."""
