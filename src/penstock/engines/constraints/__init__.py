"""What an answer must look like, as a grammar: from JSON schemas, regular expressions and EBNF, each read and checked by us first."""
