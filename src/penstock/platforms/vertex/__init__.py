"""Google Vertex AI: steps as custom jobs, versions as deployed models of one endpoint."""
