"""What is done with each unit of a job; each step answers the units that became ready by it."""
