"""What a device is, as data: :class:`~clnn.devices.info.DeviceInfo`, names, platforms.yaml and the shipped profiles."""
