"""The steps of a run as a state machine of AWS Step Functions, and what starts it: schedules and events of EventBridge."""
