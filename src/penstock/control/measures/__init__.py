"""What can be asked of the gateway's metrics, said without the words of any one monitoring system."""
