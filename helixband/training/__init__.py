"""What training is made of: schedules, batches on the device, one epoch, the state of a training."""
