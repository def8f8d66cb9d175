"""A model as a function that costs nothing while nobody asks: AWS Lambda's form of events, manifests for Cloud Run, Knative and Lambda."""
