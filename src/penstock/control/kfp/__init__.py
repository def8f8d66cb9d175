"""The steps of a run as a pipeline of Kubeflow's form (KFP), for systems that run those."""
